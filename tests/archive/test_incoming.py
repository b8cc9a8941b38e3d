"""Objects that are written while they come: the same bytes, the same hashes, however they are cut."""

from __future__ import annotations

import io
import random
import tracemalloc
import zlib
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from cxrserve.archive.archive import Archive
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.errors import OutOfResources, TooLarge, UnreadableImage
from cxrserve.imaging.dicom.file_prefix import begin
from cxrserve.imaging.dicom.source_header import source_header
from tests import radiographs
from tests.archive.conftest import SENDER, OpenArchive, chest
from tests.archive.test_faults import full_disk

CHUNK, BEGINNING = 2**20, 2**18


def received(folder: Path, data: bytes, piece: int) -> IncomingFile:
    """`data`, written in pieces of this size."""
    file = IncomingFile(folder / "incoming")
    for start in range(0, len(data), piece):
        file.write(memoryview(data)[start : start + piece])
    file.finish()
    return file


def as_file(dataset: Dataset) -> bytes:
    """A DICOM file."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def with_a_long_header(**elements: object) -> Dataset:
    """A radiograph with more before Pixel Data than is held in memory, where Pixel Data seem to begin too."""
    dataset = radiographs.dataset(96, 80, SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid())
    block = dataset.private_block(0x0009, "PHANTOM", create=True)
    block.add_new(1, "OB", b"\xe0\x7f\x10\0OW\0\0\x10\0\0\0" * (BEGINNING // 8))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("size", [5000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77])
@pytest.mark.parametrize("piece", [1000, 131_066, 2**22])
def test_pieces_of_any_size_make_the_same_file(tmp_path: Path, size: int, piece: int) -> None:
    data = (radiographs.dicom(96, 80) + bytes(range(256)) * (4 * CHUNK // 256))[:size]
    start = begin(data).start
    with received(tmp_path, data, piece) as file:
        assert file.size == size
        assert file.sha256 == sha256(data).hexdigest()
        content = ExplicitVRLittleEndian.encode() + data[start:]
        assert file.content_sha256() == sha256(content).hexdigest()
        file.commit(tmp_path / "kept")
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == data


def test_a_disk_that_asks_for_other_writes_gets_them(tmp_path: Path) -> None:
    """The kernel refuses one that begins within a block, as it refuses all where it knows no O_DIRECT."""
    data = chest() + bytes(3 * CHUNK)
    with IncomingFile(tmp_path / "incoming") as file:
        file._chunk = memoryview(bytearray(CHUNK + 1))[1:]
        file.write(data)
        file.finish()
        file.commit(tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == data


def test_what_is_not_kept_is_gone(tmp_path: Path) -> None:
    with received(tmp_path, chest(), 1000):
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_what_is_kept_may_be_moved_on(tmp_path: Path) -> None:
    with received(tmp_path, chest(), 1000) as file:
        file.commit(tmp_path / "first")
        file.commit(tmp_path / "second")
    assert [each.name for each in tmp_path.iterdir()] == ["second"]


def test_a_disk_that_fills_while_an_object_comes_keeps_nothing_of_it(tmp_path: Path) -> None:
    data = chest() + bytes(2 * CHUNK)
    with full_disk(3 * CHUNK // 2), pytest.raises(OutOfResources, match="EFBIG"):
        received(tmp_path, data, 1000)
    assert not list(tmp_path.iterdir())


def test_what_is_no_dicom_is_known_at_its_first_bytes(tmp_path: Path) -> None:
    with IncomingFile(tmp_path / "incoming") as file, pytest.raises(UnreadableImage):
        file.write(bytes(CHUNK))


def test_only_the_header_is_held(tmp_path: Path) -> None:
    data = radiographs.dicom(800, 700)
    assert len(data) > CHUNK
    with received(tmp_path, data, 2**17) as file:
        assert len(file.header()) == BEGINNING
        assert data.startswith(file.header())
    long = as_file(with_a_long_header())
    for whole in (long, long + bytes(CHUNK - len(long)), long + bytes(CHUNK - len(long) + 1)):
        with received(tmp_path, whole, 2**17) as file:
            assert file.header() == whole


@pytest.mark.parametrize("cut", range(0, 1200, 7))
def test_a_header_that_is_cut_is_never_taken_for_a_whole_one(cut: int) -> None:
    """Wherever: within a tag, a length, a value, a sequence of defined or undefined length."""
    dataset = radiographs.dataset(96, 80)
    item = Dataset()
    item.ReferencedSOPInstanceUID = generate_uid()
    dataset.ReferencedImageSequence = [item, item]
    dataset.SourceImageSequence = [item]
    dataset["SourceImageSequence"].is_undefined_length = True
    dataset.private_block(0x7001, "PHANTOM", create=True).add_new(1, "UN", b"\1\2")
    data = as_file(dataset)
    pixels = data.rindex(b"\xe0\x7f\x10\0OW")
    beginning = begin(data[: pixels + 12])
    assert beginning.contains_header()
    assert begin(data).contains_header()
    if beginning.start + 8 < pixels + 11 - cut:
        assert not begin(data[: pixels + 11 - cut]).contains_header()


def test_an_image_with_a_long_header_is_kept_whole(archive: Archive, tmp_path: Path) -> None:
    dataset = with_a_long_header(PatientID="behind")
    data = as_file(dataset)
    assert archive.receive(data, SENDER).outcome == "kept"
    assert archive.receive(data, SENDER).outcome == "duplicate"
    (path,) = (tmp_path / "archive" / "objects").glob("*/*.dcm")
    assert path.read_bytes() == data
    study = archive.worklist.study(str(dataset.StudyInstanceUID))
    assert study is not None
    assert study.patient_id == "behind"


def test_a_deflated_object_is_known_by_what_it_unfolds_to(archive: Archive) -> None:
    dataset = radiographs.dataset(96, 80)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = as_file(dataset)
    meta = begin(data).start
    inflated = zlib.decompress(data[meta:], wbits=-zlib.MAX_WBITS)
    again = data[:meta] + zlib.compress(inflated, 1, wbits=-zlib.MAX_WBITS)
    other = data[:meta] + zlib.compress(inflated[:-1] + b"\x55", wbits=-zlib.MAX_WBITS)
    assert again != data
    assert archive.receive(data, SENDER).outcome == "kept"
    assert archive.receive(again, SENDER).outcome == "duplicate"
    assert archive.receive(other, SENDER).outcome == "quarantined"


def deflated(data_set: bytes) -> bytes:
    """A file with this data set, deflated."""
    dataset = radiographs.dataset(96, 80)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = as_file(dataset)
    return data[: begin(data).start] + zlib.compress(data_set, 9, wbits=-zlib.MAX_WBITS)


def data_set(tail: bytes) -> bytes:
    """The data set of a radiograph, explicit VR little endian, with `tail` at its end."""
    data = as_file(radiographs.dataset(96, 80))
    return data[begin(data).start :] + tail


def test_a_deflated_object_that_unfolds_a_thousandfold_costs_no_memory(tmp_path: Path) -> None:
    """Its header and its hash are read piece by piece, up to a limit; before, all of it was held."""
    data = deflated(data_set(bytes(90 * 2**20)))
    assert len(data) < 2**20
    with received(tmp_path, data, 2**20) as file:
        tracemalloc.start()
        try:
            source_header(file.header())
            digest = file.content_sha256()
            assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
        finally:
            tracemalloc.stop()
    other = bytearray(data)
    other[-20] ^= 1  # beyond what is inflated
    with received(tmp_path, bytes(other), 2**20) as file:
        assert file.content_sha256() != digest


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 2**26 + 2**19])
def test_a_deflated_object_is_hashed_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    whole = data_set(b"\0\1" * (size // 2))
    data = deflated(whole)
    with received(tmp_path, data, 1000) as file:
        found = file.content_sha256()
    if len(whole) < 2**26:
        assert found == sha256(DeflatedExplicitVRLittleEndian.encode() + whole).hexdigest()
    with received(tmp_path, data, 77_777) as file:
        assert file.content_sha256() == found


def test_a_deflated_object_that_is_cut_is_refused(tmp_path: Path) -> None:
    noise = random.Random(5).randbytes(100_000)
    data = deflated(data_set(noise))
    with received(tmp_path, data[:-30], 4096) as file, pytest.raises(UnreadableImage, match="truncated"):
        file.content_sha256()
    with received(tmp_path, data[:-50_000] + bytes(50_000), 4096) as file, pytest.raises(UnreadableImage):
        file.content_sha256()


def test_a_header_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    dataset = with_a_long_header()
    dataset.private_block(0x0009, "PHANTOM", create=True).add_new(2, "OB", bytes(17 * 2**20))
    with (
        received(tmp_path, as_file(dataset), 2**20) as file,
        pytest.raises(TooLarge, match="before Pixel Data"),
    ):
        file.header()


@pytest.fixture
def archive(open_archive: OpenArchive, tmp_path: Path) -> Archive:
    """An archive that waits long before it works."""
    return open_archive(tmp_path / "archive", rules={"quiet_time_s": 1000})


def test_an_object_whose_pieces_come_is_received_like_any_other(archive: Archive, tmp_path: Path) -> None:
    data = chest()
    with archive.begin() as file:
        for start in range(0, len(data), 1000):
            file.write(data[start : start + 1000])
        file.finish()
        receipt = archive.receive(file, SENDER)
    assert receipt.outcome == "kept"
    assert dcmread(tmp_path / "archive" / "objects" / receipt.sha256[:2] / f"{receipt.sha256}.dcm")
    assert not list((tmp_path / "archive").glob("incoming/*/*"))
    with archive.begin() as file:
        file.write(data)
        file.finish()
        assert archive.receive(file, SENDER).outcome == "duplicate"
    assert not list((tmp_path / "archive").glob("incoming/*/*"))


def test_what_a_node_left_unfinished_is_gone_at_its_next_start(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    archive = open_archive(tmp_path / "archive")
    archive.begin().write(chest() + bytes(CHUNK))  # and then it is killed
    (left,) = (tmp_path / "archive").glob("incoming/*/*")
    assert left.stat().st_size == CHUNK
    archive.close()
    open_archive(tmp_path / "archive")
    assert not list((tmp_path / "archive").glob("incoming/*/*"))
