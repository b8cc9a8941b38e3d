"""Names of what can be done to an image: values of settings and options, without the code that does it."""

from __future__ import annotations

from typing import Literal

ProfileName = Literal["mimic-cxr-jpg", "chexpert", "clahe", "linear", "torchxrayvision"]
# Treatment of 8-bit JPEG and PNG files: as DICOM, or taken as they are.
Pictures = Literal["profile", "final"]
Fit = Literal["squash", "letterbox", "centre-crop"]
Filter = Literal["area", "bilinear", "lanczos"]
