"""Fitting the network of one size."""

from training.fit.plain import Epoch, batches, fit, load

__all__ = ["Epoch", "batches", "fit", "load"]
