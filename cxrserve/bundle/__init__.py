"""The model bundle: everything that a model states about itself. Read `contract.py` first.

contract.py             the schema of bundle.json, and loading a verified bundle
adopted_site.py         the site file whose numbers a bundle serves
signature.py            sign a bundle, and check who signed it
self_contained.py       check that a member's ONNX file holds all of its data
calibration.py          the map from a finding's score to its calibrated probability
operating_point.py      thresholds, their targets, and what was measured at them
threshold_counts.py     counts at many thresholds
fold_metrics.py         what was measured over the folds and seeds of a run
triage_calibration.py   the part of the contract that triage needs
film_check.py          the film check in a bundle's contract
"""
