"""Which part of the body a header names: good chest films pass, hands and feet do not."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxrserve.errors import NotAChestRadiograph
from cxrserve.imaging.dicom import read_dicom
from cxrserve.imaging.dicom.body_part import BodyPart, body_part
from cxrserve.imaging.limits import Limits
from tests.imaging import makers

CAPTURE: Final[dict[str, Any]] = {"SOPClassUID": makers.SECONDARY_CAPTURE, "Modality": "OT"}
CHESTS: Final = (
    "CHEST", "CHST", "CXR", "PORTABLECHEST", "CHESTPORT", "CHESTRIBS", "RIBCAGE", "LRIBS", "RIB", "THORACIC",
    "THORAX", "Thorax p.a.", "TÓRAX", "TORACE", "BRUSTKORB", "POUMON", "PULMON", "PECHO", "BABYGRAM",
    "CHEST_ABDOMEN", "NECKCHESTABDPELV", "THORAX^SPINE", "MEDIASTINUM", "LUNGE",
)  # fmt: skip
OTHERS: Final = (
    "FEET", "FOREFOOT", "DENTAL", "TOOTH", "FACE", "FACIALBONES", "LUMBAR", "CERVICAL", "LEGS", "ARMS",
    "UP_EXM", "LOW_EXM", "COLON", "ABD", "ABDO", "TSPINE", "T-SPINE", "THORACIC SPINE", "THORACOLUMBAR",
    "THORACOLUMBAR SPINE", "CERVICOTHORACIC", "COLUMNA TORACICA", "BWS", "RTKNEE", "LHAND", "SCHÄDEL",
    "PELVIS", "HIPJOINT", "SIJOINT", "CTSPINE", "ACJOINT", "Wirbelsäule thorakal", "TIB/FIB",
)  # fmt: skip
NEITHER: Final = ("", "UNKNOWN", "WHOLEBODY", "BODY", "OTHER", "DOE", "RIBOSOME", "ABDUCTION", "REAR")


def read(*, encoding: str = "latin-1", **elements: Any) -> None:
    value = str(elements.pop("BodyPartExamined")).encode(encoding)  # as bytes: the standard forbids some
    ds = makers.dataset(makers.radiograph(), **elements)
    read_dicom(makers.with_raw(ds, 0x00180015, b"CS", value), Limits())


@pytest.mark.parametrize("words", CHESTS)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_chest_in_any_words_speaks_for_a_capture(words: str, encoding: str) -> None:
    read(**CAPTURE, BodyPartExamined=words, encoding=encoding)


@pytest.mark.parametrize("words", OTHERS)
def test_other_parts_in_any_words_are_refused(words: str) -> None:
    with pytest.raises(NotAChestRadiograph, match=r"BodyPartExamined names another part \([A-Z]+\);"):
        read(BodyPartExamined=words)


@pytest.mark.parametrize("words", NEITHER)
def test_words_that_say_nothing_decide_nothing(words: str) -> None:
    read(BodyPartExamined=words)
    with pytest.raises(NotAChestRadiograph, match="no body part says chest"):
        read(**CAPTURE, BodyPartExamined=words)


def test_every_value_is_read() -> None:
    read(BodyPartExamined="HAND\\CHEST")
    read(**CAPTURE, BodyPartExamined="HAND\\CHEST")
    with pytest.raises(NotAChestRadiograph, match="HAND"):
        read(BodyPartExamined="UNKNOWN\\HAND")


def test_a_text_without_end_is_not_read_to_its_end() -> None:
    started = time.monotonic()
    read(BodyPartExamined="X" * 60_000 + " HAND")
    ds = Dataset()
    ds.BodyPartExamined = "CHEST"
    ds.add_new("ProtocolName", "UT", "A" * 50_000_000)
    assert body_part(ds) == BodyPart(name="CHEST", source="BodyPartExamined", is_chest=True)
    ds.BodyPartExamined = ""
    assert body_part(ds) is None
    assert time.monotonic() - started < 2


def region(code: str, meaning: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, meaning
    return item


@pytest.mark.parametrize(
    "items",
    [
        [region("302551006", "Entire thorax")],
        [region("T-11300", "Rib", "SRT")],
        [region("R001", "Chest", "99LOCAL")],
        [region("R002", "Hand", "99LOCAL"), region("51185008", "chest")],
    ],
)
def test_regions_that_are_chests(items: list[Dataset]) -> None:
    read(**CAPTURE, BodyPartExamined="", AnatomicRegionSequence=Sequence(items))


@pytest.mark.parametrize("code", ["85562004", "R003"])
def test_regions_that_are_none(code: str) -> None:
    with pytest.raises(
        NotAChestRadiograph, match=r"the anatomic region names another part \((hand \(85562004\)|HAND)\);"
    ):
        read(BodyPartExamined="", AnatomicRegionSequence=Sequence([region(code, "Hand")]))


@pytest.mark.parametrize("keyword", ["StudyDescription", "SeriesDescription", "ProtocolName"])
def test_descriptions_count_where_no_part_is_named(keyword: str) -> None:
    read(**CAPTURE, BodyPartExamined="", **{keyword: "XR CHEST PA AND LATERAL"})
    with pytest.raises(NotAChestRadiograph, match=rf"{keyword} names another part \(HAND\);") as caught:
        read(BodyPartExamined="", **{keyword: "HAND Doe Jane"})
    assert "Doe" not in caught.value.detail
    read(BodyPartExamined="CHEST", **{keyword: "HAND"})


def test_the_most_specific_description_decides() -> None:
    both: dict[str, Any] = {"BodyPartExamined": "", "StudyDescription": "XR CHEST AND HAND"}
    read(**both, SeriesDescription="AP")
    read(**both, SeriesDescription="Chest AP")
    with pytest.raises(NotAChestRadiograph, match="HAND"):
        read(**both, SeriesDescription="HAND AP")


@pytest.mark.parametrize(
    "words", ["AP arms down", "Face", "Head up", "A FIB", "décubitus dorsal", "Darstellung"]
)
def test_words_of_positioning_name_no_part(words: str) -> None:
    read(BodyPartExamined="", SeriesDescription=words, StudyDescription="RX THORAX")
    read(BodyPartExamined="", SeriesDescription=words)


@pytest.mark.parametrize("words", ["CT CHEST W CONTRAST", "Dose report chest", "ECHO heart"])
def test_a_capture_of_another_examination_of_the_chest_is_refused(words: str) -> None:
    with pytest.raises(NotAChestRadiograph, match="no body part says chest"):
        read(**CAPTURE, BodyPartExamined="", StudyDescription=words)
