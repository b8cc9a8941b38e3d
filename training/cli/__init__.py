"""`cxrserve train` and `cxrserve models init`. torch is imported only once a command runs.

calibrate.py   `cxrserve models calibrate`
film_check.py  `cxrserve models film-check`
options.py   options that `cxrserve train` and each of its steps share
phantoms.py  `cxrserve phantoms`
progress.py  progress of a run
quantize.py  `cxrserve models quantize`
tables.py    tables that `cxrserve train` prints
train.py     `cxrserve train`, and each of its steps as `cxrserve train STEP`
triage.py    `cxrserve models triage`
"""

from training.cli.train import init, train

__all__ = ["init", "train"]
