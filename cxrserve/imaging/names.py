"""Names of what can be done to an image: values of settings and options, without the code that does it."""

from __future__ import annotations

from typing import Literal

ProfileName = Literal["mimic-cxr-jpg", "chexpert", "clahe", "linear", "torchxrayvision"]
Fit = Literal["squash", "letterbox", "centre-crop"]
Filter = Literal["area", "bilinear", "lanczos"]
