"""Body parts named by headers: chest images pass, hands and feet do not."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxrserve.errors import NotAChestRadiograph
from cxrserve.imaging.dicom.body_part import BodyPart, body_part
from cxrserve.imaging.dicom.read import read_dicom
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


CHEST_WORDS = {
    "ISO_IR 192": (
        "胸部正面 PA", "胸片", "胸部X線 立位",
        "흉부 PA", "가슴", "ОГК прямая", "Рентген органов грудной клетки",
        "ОГК", "Рентгенографія грудної клітки", "Ακτινογραφία θώρακος", "صدر", "صورة الصدر", "צילום חזה",
        "Klatka piersiowa PA", "RTG hrudníku", "Mellkas",
        "Akciğer grafisi", "Göğüs", "Keuhkot", "X quang ngực",
        "छाती", "เอกซเรย์ทรวงอก", "Tórax PA", "Lungor", "Borstkas",
    ),
    "ISO_IR 144": ("ОГК", "Органы грудной клетки"),
    "ISO_IR 126": ("Θώρακας",),
    "ISO_IR 127": ("صدر",),
    "GB18030": ("胸部正位",),
    "\\ISO 2022 IR 87": ("胸部",),
    "\\ISO 2022 IR 149": ("흉부",),
}  # fmt: skip
OTHER_WORDS = {
    "ISO_IR 192": (
        ("膝関節 2方向", "KNEE"), ("膝关节正侧位", "KNEE"), ("무릎", "KNEE"), ("Коленный сустав", "KNEE"),
        ("Колінний суглоб", "KNEE"), ("Γόνατο", "KNEE"),
        ("ركبة", "KNEE"), ("ברך", "KNEE"), ("Kolano", "KNEE"),
        ("Joelho", "KNEE"), ("Diz", "KNEE"), ("เข่า", "KNEE"), ("胸椎", "SPINE"), ("腰椎正面", "SPINE"),
        ("흉추", "SPINE"), ("Позвоночник", "SPINE"),
        ("腹部", "ABDOMEN"), ("복부", "ABDOMEN"), ("بطن", "ABDOMEN"),
        ("骨盤", "PELVIS"), ("Таз", "PELVIS"), ("頭部", "SKULL"), ("Череп", "SKULL"), ("肩関節", "SHOULDER"),
        ("Плечевой сустав", "SHOULDER"), ("手指", "HAND"), ("足関節", "ANKLE"), ("Голеностоп", "ANKLE"),
    ),
    "ISO_IR 144": (("Колено", "KNEE"),),
    "\\ISO 2022 IR 87": (("膝関節", "KNEE"),),
    "GB18030": (("膝关节", "KNEE"),),
    "\\ISO 2022 IR 149": (("무릎", "KNEE"),),
}  # fmt: skip


def _described(words: str, character_set: str, **elements: Any) -> bytes:
    return makers.dicom(
        makers.radiograph(),
        BodyPartExamined=None,
        SpecificCharacterSet=character_set.split("\\"),
        SeriesDescription=words,
        **elements,
    )


@pytest.mark.parametrize(
    ("character_set", "words"), [(key, word) for key, words in CHEST_WORDS.items() for word in words]
)
def test_the_chest_in_other_languages(character_set: str, words: str) -> None:
    capture = _described(words, character_set, SOPClassUID=makers.SECONDARY_CAPTURE, Modality="OT")
    assert read_dicom(capture, Limits()).warnings == ()


@pytest.mark.parametrize(
    ("character_set", "words", "part"),
    [(key, word, part) for key, words in OTHER_WORDS.items() for word, part in words],
)
def test_other_parts_in_other_languages(character_set: str, words: str, part: str) -> None:
    with pytest.raises(NotAChestRadiograph, match=rf"SeriesDescription names another part.*{part}"):
        read_dicom(_described(words, character_set), Limits())


@pytest.mark.parametrize("keyword", ["SeriesDescription", "StudyDescription", "ProtocolName"])
@pytest.mark.parametrize("words", ["XR KNEE LEFT 3 VIEWS", "膝関節", "Hand links"])
def test_a_description_that_contradicts_the_tag_is_reported(keyword: str, words: str) -> None:
    elements: dict[str, Any] = {"SpecificCharacterSet": "ISO_IR 192", keyword: words}
    data = makers.dicom(makers.radiograph(), **elements)
    (warning,) = read_dicom(data, Limits()).warnings
    assert warning.code == "body-part-contradiction"
    assert keyword in warning.message
    assert words not in warning.message


@pytest.mark.parametrize(
    "words", ["CHEST AND KNEE", "Thorax ap liegend", "PORTABLE", "arms up", "Bedside", ""]
)
def test_a_description_that_does_not_contradict_is_quiet(words: str) -> None:
    assert read_dicom(makers.dicom(makers.radiograph(), SeriesDescription=words), Limits()).warnings == ()


def test_words_that_are_not_known_are_reported() -> None:
    data = makers.dicom(makers.radiograph(), BodyPartExamined="GIZMO")
    assert [warning.code for warning in read_dicom(data, Limits()).warnings] == ["body-part-unknown"]
