"""The header that results repeat: clean, small, in the film's own character set, whatever the film is."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from cxrserve.errors import CxrserveError, NotForPresentation, UnreadableImage
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.imaging.worker_response import MAX_HEADER_BYTES, read_header_answer
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.dicom import read_source
from tests import radiographs


def film(**elements: Any) -> bytes:
    """A film whose values keep no rule that pydicom would enforce."""
    with disable_value_validation():
        return radiographs.dicom(**elements)


def test_the_header_is_the_films_and_small() -> None:
    data = radiographs.dicom(PatientID="4711", StudyDescription="Chest PA")
    made, whole = source_header(data), pydicom.dcmread(io.BytesIO(data))
    assert len(made) < 2000
    source = read_source(made)
    assert source.header.PatientID == "4711"
    assert source.header.StudyDescription == "Chest PA"
    assert (source.study_instance_uid, source.sop_instance_uid) == (
        whole.StudyInstanceUID,
        whole.SOPInstanceUID,
    )
    assert "PixelData" not in source.header


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", "Łukaszewicz^Žofie=山田^太郎"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 144", "Люкceмбypг^Анна"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 126", "Διονυσιος"),
    ],
)
def test_the_character_set_is_kept(character_set: Any, name: str) -> None:
    source = read_source(
        source_header(radiographs.dicom(SpecificCharacterSet=character_set, PatientName=name))
    )
    assert str(source.header.PatientName) == name
    expected = (character_set,) if isinstance(character_set, str) else tuple(character_set)
    assert source.character_set == expected


def test_text_that_is_not_in_its_character_set_goes_into_utf8() -> None:
    """Latin-1 bytes under no declaration: what can be read is kept, and written so that all can read it."""
    data = radiographs.dicom(PatientName="Buc^Jerome").replace(b"Buc^Jerome", "Buc^Jérôme".encode("latin-1"))
    source = read_source(source_header(data))
    assert str(source.header.PatientName).startswith("Buc^J")
    assert source.character_set in ((), ("ISO_IR 192",))


def test_values_that_break_their_rules_are_left_out() -> None:
    data = radiographs.dicom(StudyDate="20260301", StudyTime="101112", PatientSex="F", Laterality="R")
    broken = (
        data.replace(b"20260301", b"20269999")
        .replace(b"101112", b"991112")
        .replace(b"CS\x02\0F ", b"CS\x02\0f\n")
    )
    header = read_source(source_header(broken)).header
    assert "StudyDate" not in header
    assert "StudyTime" not in header
    assert header.Laterality == "R"


def test_control_characters_become_blanks() -> None:
    data = film(StudyDescription="a\nb\x1b[31m" + "x" * 60, AccessionNumber="A\tB")
    header = read_source(source_header(data)).header
    assert "\n" not in header.StudyDescription
    assert "\x1b" not in header.StudyDescription
    assert header.StudyDescription.endswith("x" * 60), "text is not cut"
    assert header.AccessionNumber == "A B"


@pytest.mark.parametrize("uid", ["1.2/3", "..", ".1", "1." + "2" * 64, "abc", ""])
def test_a_study_without_a_uid_has_no_result(uid: str) -> None:
    with pytest.raises(UnreadableImage, match="StudyInstanceUID cannot be read"):
        source_header(film(StudyInstanceUID=uid or None))


def test_a_film_cut_in_its_pixels_still_has_a_header() -> None:
    data = radiographs.dicom()
    assert read_source(source_header(data[: len(data) // 2])).sop_instance_uid


def test_a_refused_film_still_has_a_header(results_pipeline: Pipeline) -> None:
    data = radiographs.dicom(PresentationIntentType="FOR PROCESSING")
    with pytest.raises(NotForPresentation):
        results_pipeline.read(data)
    assert read_source(results_pipeline.header(data, timeout_s=10)).header.Modality == "DX"


def test_what_is_no_dicom_has_none(results_pipeline: Pipeline, chest_jpeg: bytes) -> None:
    with pytest.raises(UnreadableImage, match="no DICOM element"):
        results_pipeline.header(chest_jpeg, timeout_s=10)


def test_a_worker_that_was_taken_over_is_not_believed() -> None:
    with pytest.raises(UnreadableImage):
        read_header_answer({"retire": False, "more": 1}, bytearray(b"x"))
    sound = source_header(radiographs.dicom())
    with pytest.raises(UnreadableImage):
        read_source(sound.replace(b"DX", b"\0\0")[:200])
    with pytest.raises(UnreadableImage):
        read_source(b"\0" * 1000)


def test_an_unknown_character_set_is_not_passed_on() -> None:
    data = film(SpecificCharacterSet="ISO_IR 100", PatientName="Doe^Jane").replace(
        b"ISO_IR 100", b"ISO_IR 999"
    )
    source = read_source(source_header(data))
    assert str(source.header.PatientName) == "Doe^Jane"
    assert source.character_set in ((), ("ISO_IR 192",))


@pytest.mark.parametrize("offset", ["+9999", "abc", "+01:00"])
def test_a_time_zone_that_is_none_is_left_out(offset: str) -> None:
    header = read_source(source_header(film(TimezoneOffsetFromUTC=offset))).header
    assert "TimezoneOffsetFromUTC" not in header


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_header_is_read_or_refused(data: st.DataObject) -> None:
    broken = bytearray(radiographs.dicom(64, 64, PatientName="Doe^Jane", PatientID="1"))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(132, 900))] = data.draw(st.integers(0, 255))
    try:
        made = source_header(bytes(broken))
    except CxrserveError:
        return
    assert len(made) <= MAX_HEADER_BYTES
    read_source(made)


def test_every_real_header_comes_back_as_it_was(realdata: Path) -> None:
    read = 0
    for path in sorted((realdata / "dicom").rglob("*")):
        if not path.is_file() or path.stat().st_size > 40 * 2**20:
            continue
        try:
            source = read_source(source_header(path.read_bytes()))
        except CxrserveError:
            continue
        read += 1
        assert source.sop_instance_uid
    assert read > 50


def test_a_header_costs_a_small_part_of_what_decoding_does() -> None:
    """Twenty a second are wanted on two cores, beside everything else."""
    data = radiographs.dicom(2500, 3056)  # 15 MB, as detectors send them
    started = time.process_time()
    for _ in range(10):
        source_header(data)
    assert (time.process_time() - started) / 10 < 0.02


def table(descriptor: list[int], data: bytes | list[int], first_vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", first_vr, descriptor)
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return item


@pytest.mark.parametrize(
    ("items", "descriptor", "words"),
    [
        pytest.param([table([3, 0, 10], [1, 2, 3])], [3, 0, 10], [1, 2, 3], id="numbers"),
        pytest.param([table([3, 0, 10], b"\1\0\2\0\3\0")], [3, 0, 10], [1, 2, 3], id="words"),
        pytest.param([table([3, -9, 10], [1, 2, 3], "SS")], [3, -9, 10], [1, 2, 3], id="signed"),
        pytest.param([table([3, 0, 8], b"\1\2\3\0")], [3, 0, 8], [1, 2, 3], id="packed"),
        pytest.param([table([0, 0, 16], b"\7\0" * 65536)], [0, 0, 16], [7] * 65536, id="largest"),
        pytest.param([table([4, 0, 10], [1]), table([2, 5, 9], [8, 9])], [2, 5, 9], [8, 9], id="second"),
        pytest.param([table([4, 0, 10], [1, 2, 3])], None, None, id="too short"),
        pytest.param([table([2, 0, 10], b"\0" * 300_000)], None, None, id="too long"),
        pytest.param([table([2, 0, 40], [1, 2])], None, None, id="bits"),
        pytest.param([table([2, 0], [1, 2])], None, None, id="descriptor"),
    ],
)
def test_a_sound_table_is_kept(
    items: list[Dataset], descriptor: list[int] | None, words: list[int] | None
) -> None:
    header = read_source(source_header(film(VOILUTSequence=items))).header
    if descriptor is None:
        assert not header.get("VOILUTSequence")
        return
    (kept,) = header.VOILUTSequence
    assert list(kept.LUTDescriptor) == descriptor
    assert np.frombuffer(kept.LUTData, "<u2").tolist() == words


def test_a_table_in_big_endian_is_turned() -> None:
    data = radiographs.dataset(VOILUTSequence=[table([2, 0, 10], b"\1\2\3\4")])
    del data.PixelData
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    (kept,) = read_source(source_header(file.getvalue())).header.VOILUTSequence
    assert kept.LUTData == b"\2\1\4\3"
