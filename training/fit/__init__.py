"""Fitting the network of one size: one loop for every recipe, under Lightning."""

from training.fit.hardware import Hardware
from training.fit.member import fit_member
from training.fit.module import FitError
from training.fit.result import Epoch, FitResult

__all__ = ["Epoch", "FitError", "FitResult", "Hardware", "fit_member"]
