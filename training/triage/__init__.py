"""Calibration of early decisions.

calibrate.py      fits stages and margins
check.py          measures decisions on other images
logits.py         the logits that both need
images.py         calibration of a bundle on image files
"""
