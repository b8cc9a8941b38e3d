"""Fitting the network of one size: one loop for every recipe, under Lightning.

augment.py      augmentation of a whole batch at once, on the device it lies on
batches.py      batches of a fit
calibrate.py    calibration of the head between two phases
checkpoints.py  checkpoints after every epoch
crops.py        squares cut out of large images, most of them about a finding
fit_state.py    files of a fit
hardware.py     choice of devices and precision
losses.py       losses
member.py       fit the network of one size
module.py       one phase of a fit as Lightning runs it
optim.py        parameter groups, optimisers and learning-rate schedules
phases.py       a fit's phases, each under an optimiser of its own
prefetch.py     reading ahead
result.py       results of a fit
scores.py       scores of a validation
seeds.py        randomness as a function of where a fit is
"""

from training.fit.hardware import Hardware
from training.fit.member import fit_member
from training.fit.module import FitError
from training.fit.result import Epoch, FitResult

__all__ = ["Epoch", "FitError", "FitResult", "Hardware", "fit_member"]
