"""The 14 findings of CheXpert and MIMIC-CXR, in the one order of every array in this project.

The order is that of MIMIC-CXR's tables: alphabetical. Files with another order (CheXpert's own CSV, a
bundle made elsewhere) are mapped by name, never by position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

SchemeDesignator = Literal["SCT", "DCM", "99CXRSERVE"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A coded concept as DICOM writes it (PS3.3 Section 8): value, scheme, meaning."""

    value: str
    scheme: SchemeDesignator
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One finding: `name` as in CheXpert's tables, `code` for DICOM results.

    `exact` is False where the code is the nearest one, narrower or broader than the finding.
    """

    name: str
    code: Code
    exact: bool = True


def _finding(name: str, value: str, scheme: SchemeDesignator, meaning: str, *, exact: bool = True) -> Finding:
    return Finding(name=name, code=Code(value=value, scheme=scheme, meaning=meaning), exact=exact)


FINDINGS: Final[tuple[Finding, ...]] = (
    _finding("Atelectasis", "46621007", "SCT", "Atelectasis"),
    # pydicom's codes.SCT.Cardiomegaly is 287272002, another concept.
    _finding("Cardiomegaly", "8186001", "SCT", "Cardiomegaly"),
    _finding("Consolidation", "95436008", "SCT", "Lung consolidation"),
    _finding("Edema", "19242006", "SCT", "Pulmonary edema"),
    _finding("Enlarged Cardiomediastinum", "ENLARGED_CM", "99CXRSERVE", "Enlarged cardiomediastinum"),
    _finding("Fracture", "125605004", "SCT", "Fracture of bone"),
    # Nodules and masses: no code that DICOM lists holds both.
    _finding("Lung Lesion", "LUNG_LESION", "99CXRSERVE", "Lung lesion: nodule or mass"),
    # Its meaning in PS3.16 is "Opacity": the concept of CID 6102, which is about the chest.
    _finding("Lung Opacity", "112001", "DCM", "Opacity", exact=False),
    _finding("No Finding", "17621005", "SCT", "Normal", exact=False),
    _finding("Pleural Effusion", "60046008", "SCT", "Pleural effusion"),
    _finding("Pleural Other", "PLEURAL_OTHER", "99CXRSERVE", "Other pleural abnormality"),
    _finding("Pneumonia", "233604007", "SCT", "Pneumonia"),
    _finding("Pneumothorax", "36118008", "SCT", "Pneumothorax"),
    _finding("Support Devices", "SUPPORT_DEVICES", "99CXRSERVE", "Support devices"),
)

NAMES: Final[tuple[str, ...]] = tuple(finding.name for finding in FINDINGS)
# The answer that nothing was found: shown apart from the other 13, and never counted as a finding.
NO_FINDING: Final = "No Finding"
INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(NAMES)}
# The order in which a radiologist reports: devices, pleura, lungs, heart and mediastinum, bones.
CLINICAL_ORDER: Final[tuple[str, ...]] = (
    "Support Devices",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Cardiomegaly",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "No Finding",
)
# The order in which findings are shown to somebody who has little time: what may need action within minutes
# first. An ordering for the screen, not a clinical rule.
URGENCY_ORDER: Final[tuple[str, ...]] = (
    "Pneumothorax",
    "Edema",
    "Pneumonia",
    "Consolidation",
    "Pleural Effusion",
    "Enlarged Cardiomediastinum",
    "Lung Lesion",
    "Fracture",
    "Atelectasis",
    "Lung Opacity",
    "Cardiomegaly",
    "Pleural Other",
    "Support Devices",
    NO_FINDING,
)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold()


_BY_FOLDED: Final[dict[str, str]] = {_folded(name): name for name in NAMES}


def canonical(name: str) -> str:
    """The finding's one spelling for `name` in any case, with blanks, `_` or `-`.

    Raises:
        ValueError: there is no such finding; the message lists the 14.
    """
    try:
        return _BY_FOLDED[_folded(name)]
    except KeyError:
        raise ValueError(f"unknown finding {name[:40]!r}; the findings are: {', '.join(NAMES)}") from None


def indices(names: Iterable[str]) -> tuple[int, ...]:
    """Positions of `names` (any spelling that `canonical` takes) in every array's finding axis."""
    return tuple(INDEX[canonical(name)] for name in names)
