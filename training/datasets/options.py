"""Options of the dataset readers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.datasets.faults import BadRow

Labeler = Literal["chexpert", "negbio", "chexbert", "visualchexbert"]
Section = Literal["impression", "findings", "report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """Options for reading a dataset.

    Attributes:
        labeler: the labels of MIMIC-CXR (chexpert or negbio; CheXpert's were found better on 687 reports,
            Johnson et al. 2019) and of CheXpert's training images (chexpert, chexbert or visualchexbert).
        radiologist_test_labels: MIMIC-CXR's official test studies get the labels of the 2.1.0 table, which a
            radiologist gave, in place of the labeler's.
        official_test: CheXpert's test_labels.csv, where it is there, is the test part, and valid.csv
            validates; if false, valid.csv is the test, as in papers from before the test set was published.
        section: the part of the report that the labels of CheXpert Plus are of.
        tables: where MIMIC-CXR's tables lie, if not beside its files/ folder. The DICOM project has none of
            its own: they come with MIMIC-CXR-JPG.
        check_files: look whether each image is there.
        max_bad_share: the largest share of bad rows that is passed over, 0 to 1.
    """

    labeler: Labeler = "chexpert"
    radiologist_test_labels: bool = False
    official_test: bool = True
    section: Section = "impression"
    tables: Path | None = None
    check_files: bool = True
    max_bad_share: float = 0.05


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A dataset's root as readers ask it for images."""

    root: str
    check: bool

    def image(self, path: str) -> str:
        """`path`, which is relative to the root.

        Raises:
            BadRow: there is no such file, and files are checked.
        """
        # Plain strings: pathlib would take longer than the file system over 400,000 paths.
        if self.check and not os.path.isfile(f"{self.root}/{path}"):
            raise BadRow("image file missing", path)
        return path
