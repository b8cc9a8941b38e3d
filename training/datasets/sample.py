"""A Sample: one image of a dataset, with what its tables say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# "frontal": a frontal projection that is neither plainly AP nor plainly PA (decubitus, lordotic, not said).
View = Literal["AP", "PA", "frontal", "lateral", "other", "unknown"]
Sex = Literal["F", "M", "unknown"]
Part = Literal["train", "validate", "test"]

Labels = NDArray[np.float32]

POSITIVE, NEGATIVE, UNCERTAIN = 1.0, 0.0, -1.0


# Two samples are compared by identity, two manifests by their hash: an array has no single truth value.
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """One image.

    Attributes:
        path: relative to the dataset's root, with "/".
        patient_id, study_id, image_id: unique in the dataset; a study belongs to one patient. They and the
            path hold printable characters only.
        labels_F: float32 [14], read-only, as the source has it: 1 positive, 0 negative, -1 uncertain, NaN not
            mentioned. What becomes of -1 and NaN is a policy's affair (`training.datasets.labels`).
        view, sex: "unknown" where the tables do not say.
        age: years, None where unknown.
        rows, columns: of the image file, None where the tables do not say.
        split: the part that the dataset's authors put it in, None where they did not.
    """

    path: str
    patient_id: str
    study_id: str
    image_id: str
    labels_F: Labels
    view: View = "unknown"
    sex: Sex = "unknown"
    age: float | None = None
    rows: int | None = None
    columns: int | None = None
    split: Part | None = None
