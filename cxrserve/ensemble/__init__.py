"""The ensemble: computes probabilities, heatmaps and triage decisions from the outputs of the members.

predictor.py   the Predictor: runs the members of a bundle, stacks their outputs, computes heatmaps
stack.py       the convex sum of the scales' probabilities
heatmap.py     Grad-CAM of the ensemble
calibration.py  fit of the calibrated probabilities
triage.py      decisions that stop at the first scale that settles them
"""
