"""deploy/CONFORMANCE.md says what the code does: each of its tables is compared with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from cxrserve.errors import ConfigurationError, CxrserveError
from cxrserve.pacs import commitment, storage
from cxrserve.pacs.offers import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    TRANSFER_SYNTAXES,
    offered_contexts,
)
from cxrserve.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[2] / "deploy" / "CONFORMANCE.md"
TEXT = DOCUMENT.read_text("utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below `heading`, without its head."""
    _, found, below = TEXT.partition(f"# {heading}\n")
    assert found, heading
    lines = re.split(r"\n#", below)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def column(heading: str, index: int) -> list[str]:
    return [row[index].strip("`") for row in table(heading)]


def below(error: type[CxrserveError]) -> Iterator[type[CxrserveError]]:
    for child in error.__subclasses__():
        if not issubclass(child, ConfigurationError):  # found at start, answered to nobody
            yield child
            yield from below(child)


def test_sop_classes() -> None:
    offered = [str(each.abstract_syntax) for each in offered_contexts()]
    assert sorted(column("SOP classes as SCP", 1)) == sorted(offered)


def test_transfer_syntaxes() -> None:
    assert column("Transfer syntaxes", 1) == list(TRANSFER_SYNTAXES)
    assert column("Transfer syntaxes", 0) == [UID(each).name for each in TRANSFER_SYNTAXES]


def test_result_objects() -> None:
    """What arrives in a PACS is `test_end_to_end.py`'s."""
    made = {
        Comprehensive3DSRStorage,
        SecondaryCaptureImageStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        SegmentationStorage,
    }
    assert set(column("Result objects", 1)) == made


def test_status_codes_of_storage() -> None:
    told = {each.dimse_status for each in below(CxrserveError)} | {CxrserveError.dimse_status}
    told |= {*storage.OF_OUTCOME.values(), storage.MISMATCH}
    assert column("Status codes of Storage", 0) == [f"{each:04X}" for each in sorted(told)]


def test_status_codes_of_storage_commitment() -> None:
    told = (
        commitment.SUCCESS,
        commitment.PROCESSING_FAILURE,
        commitment.INVALID_ARGUMENT,
        commitment.NO_SUCH_ACTION,
        commitment.NOT_AUTHORIZED,
    )
    assert column("Status codes of Storage Commitment", 0) == [f"{each:04X}" for each in told]


def test_implementation() -> None:
    assert f"`{IMPLEMENTATION_CLASS_UID}`" in TEXT
    assert f"`{IMPLEMENTATION_VERSION_NAME.rpartition('_')[0]}_`" in TEXT


def test_settings_and_their_defaults() -> None:
    for name, default in zip(column("Configuration", 0), column("Configuration", 1), strict=True):
        field = Settings.model_fields[name.removeprefix("CXRSERVE_").lower()]
        assert default == ("none" if field.default is None else str(field.default)), name
    dicom = {f"CXRSERVE_{name.upper()}" for name in Settings.model_fields if name.startswith("dicom_")}
    assert dicom <= set(column("Configuration", 0))


@pytest.mark.parametrize("heading", ["Rejections of associations"])
def test_rejections(heading: str) -> None:
    """The node's answers themselves are `test_node.py`'s and `test_hostile_wire.py`'s."""
    assert [(row[0], row[1], row[2]) for row in table(heading)] == [
        ("1 permanent", "1 service user", "3 calling AE title not recognised"),
        ("1 permanent", "1 service user", "7 called AE title not recognised"),
        ("2 transient", "3 service provider (presentation)", "2 local limit exceeded"),
    ]
