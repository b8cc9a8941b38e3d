"""deploy/CONFORMANCE.md says what the code does: each of its tables is compared with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from cxrserve import dicom_status
from cxrserve.api import dicomweb
from cxrserve.archive import receipt
from cxrserve.errors import ConfigurationError, CxrserveError
from cxrserve.pacs import association_server as door
from cxrserve.pacs import commitment, destinations, node, storage
from cxrserve.pacs.presentation_contexts import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    offered_contexts,
)
from cxrserve.pacs.workitem_dataset import REASONS
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
    told |= {*receipt._STATUSES.values(), storage._Mismatch.dimse_status}
    assert column("Status codes of Storage", 0) == [f"{each:04X}" for each in sorted(told)]


def test_status_codes_of_storage_commitment() -> None:
    told = (
        dicom_status.SUCCESS,
        dicom_status.PROCESSING_FAILURE,
        dicom_status.INVALID_ARGUMENT_VALUE,
        dicom_status.NO_SUCH_ACTION,
        dicom_status.NOT_AUTHORIZED,
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


def test_rejections() -> None:
    """As the node sends them; pynetdicom knows the called AE title. PS3.8 9.3.4."""
    told = [tuple(int(cell[0]) for cell in row[:3]) for row in table("Rejections of associations")]
    assert told == [node._REJECT_CALLER, (1, 1, 7), tuple(door._REJECT_FULL[-3:])]
    said = A_ASSOCIATE()
    for (result, source, reason), row in zip(told, table("Rejections of associations"), strict=True):
        said.result, said.result_source, said.diagnostic = result, source, reason
        words = "".join(row[:3]).lower()
        assert said.result_str.split()[-1].lower() in words
        assert said.reason_str.lower() in words


def test_network_services() -> None:
    """By what is offered in the negotiation, which routes there are, and what the code calls."""
    offered = {str(each.abstract_syntax) for each in offered_contexts()}
    routes = {method for route in dicomweb.router.routes for method in getattr(route, "methods", ())}
    asks = "".join(path.read_text() for path in Path(door.__file__).parent.glob("*.py"))
    code = {
        "Verification": ("send_c_echo(" in asks, Verification in offered),
        "Storage of radiographs": (False, STORAGE_CLASSES[0] in offered),
        "Storage of results": ("send_c_store(" in asks, Comprehensive3DSRStorage in offered),
        "Storage Commitment, Push Model": ("send_n_action(" in asks, StorageCommitmentPushModel in offered),
        "DICOMweb: STOW-RS": (".store_instances(" in asks, "POST" in routes),
        "DICOMweb: QIDO-RS, WADO-RS": (
            ".search_for_instances(" in asks and "instances/{instance}" in asks,
            "GET" in routes,
        ),
        "DICOMweb: UPS-RS (Unified Procedure Step, Pull)": (
            '"workitems"' in asks and "/state" in asks,
            False,
        ),
        "Query/Retrieve, Study Root - FIND": ("send_c_find(" in asks, False),
        "Query/Retrieve, Study Root - MOVE": ("send_c_move(" in asks, False),
    }
    said = {row[0]: tuple(cell.split()[0] == "yes" for cell in row[1:]) for row in table("Overview")}
    assert said == code
    assert not re.search(r"EVT_C_(FIND|MOVE|GET)", asks), "no Query/Retrieve as provider"
    assert "send_c_get(" not in asks


def test_answers_of_stow() -> None:
    (said,) = re.findall(r"take `multipart/related.*", TEXT)
    assert {int(each) for each in re.findall(r"\b[2-5]\d\d\b", said)} == {
        status for status in dicomweb._ANSWERS if isinstance(status, int)
    }


def test_figures_of_storage_commitment() -> None:
    (said,) = re.findall(r"An N-ACTION-RQ .*", TEXT)
    assert Settings().delivery_give_up_s == 7 * 86_400
    assert "tried for seven days" in said
    assert Settings().delivery_max_pause_s == 5 * 60
    assert "up to five minutes" in said
    assert f"more than {commitment._MAX_OBJECTS:,}" in TEXT
    assert f"{dicom_status.NO_SUCH_SOP_INSTANCE:04X}H" in said


def test_what_counts_as_delivered() -> None:
    (said,) = re.findall(r".*regards a result as delivered.*", TEXT)
    assert f"{dicom_status.DUPLICATE_SOP_INSTANCE:04X}H" in said
    assert {f"{status:04X}"[0] for status in dicom_status.WARNINGS} == {"B"}
    assert set(destinations._DELIVERED) == {
        dicom_status.SUCCESS,
        dicom_status.DUPLICATE_SOP_INSTANCE,
        *dicom_status.WARNINGS,
    }


def test_reasons_of_canceled_workitems() -> None:
    stated = {cell.partition(" ")[::2] for cell in column("Reasons of canceled workitems", 0)}
    assert stated == {(value, meaning) for value, _, meaning in REASONS.values()}
