"""The ensemble as anybody would write it on ONNX Runtime: decode, four sizes, four sessions, the stack.

Needs none of cxrserve: numpy, OpenCV, pydicom and onnxruntime, in the peers' own environment.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pydicom


class Ensemble:
    """Four networks, one file each, and the weights that combine them."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        about = json.loads((folder / "ensemble.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.findings: list[str] = about["findings"]
        self.weights_FS = np.array(about["stack"])
        self.sessions = {
            size: onnxruntime.InferenceSession(
                str(folder / f"scale_{size}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for size in about["sizes"]
        }

    def predict(self, film: bytes) -> dict[str, Any]:
        """Probabilities of one film by finding."""
        grey_HW = decode(film)
        logits = []
        for size, session in self.sessions.items():
            level = cv2.resize(grey_HW, (size, size), interpolation=cv2.INTER_AREA)
            logits.append(session.run(["logits"], {"image": level[None, None]})[0][0])
        probabilities_FS = 1 / (1 + np.exp(-np.stack(logits, axis=-1)))
        probabilities_F = (probabilities_FS * self.weights_FS).sum(axis=1)
        return dict(zip(self.findings, probabilities_F.tolist(), strict=True))


def decode(film: bytes) -> np.ndarray[Any, Any]:
    """8-bit grey of a JPEG, or of a DICOM file by the way of MIMIC-CXR-JPG."""
    if film[128:132] != b"DICM":
        picture = cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_GRAYSCALE)
        return np.asarray(picture)
    dataset = pydicom.dcmread(io.BytesIO(film))
    pixels = dataset.pixel_array.astype(np.float32)
    pixels -= pixels.min()
    grey = (pixels / pixels.max() * 255).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.asarray(cv2.equalizeHist(grey))
