"""The film check's training: a self-supervised task, its network, the fit, the export and the measurement.

build.py       the section of the contract
command.py     the command on somebody's films
export.py      the network as ONNX
fit.py         the fit
from_cache.py  films out of a run's cached pyramids
measure.py     the measured table
network.py     the network
no_chest.py    pictures that show no chest
reference.py   references
task.py        the self-supervised task
"""
