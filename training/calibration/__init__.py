"""Calibration of a bundle on labelled images that had no part in training its networks.

bundle.py    the contract with calibrations, measured operating points and heatmap scales
chosen.py    a finding's map: logistic, or beta where many labels show that it is better
error.py     calibration error, slope and intercept, with intervals
images.py    calibration on labelled images or phantoms
kept.py      the same outputs on disk, for a call that is interrupted
outputs.py   outputs of the members for labelled images
restack.py   a new stack for a finished bundle
"""
