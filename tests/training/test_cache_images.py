"""Films into the cache: what serving would see, each film once; what cannot be decoded is listed."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing
from training.cache import cache_images, content_sha256, open_films, undecodable
from training.cache.compressed import (
    CompressedLevel,
    LevelWriter,
    compress,
    decompress,
    halvings,
    stored_sizes,
)
from training.cache.files import COMPLETE, FILLING, PENDING, CacheFiles, level_arrays
from training.cache.images import images_description
from training.cache.rows import LevelRows, Rows
from training.datasets import Manifest, read_dataset
from training.datasets.faults import DatasetError
from training.phantom import write_phantoms

PREPROCESSING = Preprocessing(profile="mimic-cxr-jpg", sizes=(64, 128))
COUNT, DAMAGED = 5, 2


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five phantoms as JPEG, the third cut off."""
    folder = tmp_path_factory.mktemp("films")
    write_phantoms(folder, COUNT, seed=70_000)
    damaged = folder / f"phantom_{70_000 + DAMAGED:06d}.jpg"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    return folder


@pytest.fixture
def manifest(films: Path) -> Manifest:
    return read_dataset(f"phantoms:{films}")


def fill(folder: Path, manifest: Manifest, workers: int = 2) -> list[int]:
    return sorted(cache_images(folder, manifest, PREPROCESSING, workers))


def test_a_cache_holds_what_serving_would_see(tmp_path: Path, manifest: Manifest) -> None:
    assert fill(tmp_path, manifest) == list(range(COUNT))
    good = np.array([0, 1, 3, 4])
    labels_NF = manifest.labels_NF()[good]
    cache = open_films(
        [tmp_path], [good], [[manifest.samples[row] for row in good]], labels_NF, PREPROCESSING.sizes
    )
    for position, row in enumerate(good):
        served = prepare(manifest.file(manifest.samples[row]).read_bytes(), PREPROCESSING, Limits())
        for size, level_SS in served.levels.items():
            assert np.array_equal(cache.pyramid(position)[size], level_SS)
    assert len(cache) == 4
    assert cache.locations_NFGG is None
    assert len(set(cache.study_N.tolist())) == 4


def test_what_cannot_be_decoded_is_listed_with_its_reason(tmp_path: Path, manifest: Manifest) -> None:
    fill(tmp_path, manifest)
    (bad,) = undecodable(tmp_path, manifest).items()
    row, fault = bad
    assert row == DAMAGED
    assert fault.reason == "image cannot be decoded"
    assert fault.where == manifest.samples[DAMAGED].path
    assert "JPEG" in fault.detail


def test_a_full_cache_is_not_filled_again_but_for_files_that_changed(films: Path, tmp_path: Path) -> None:
    manifest = read_dataset(f"phantoms:{films}")
    fill(tmp_path, manifest)
    before = content_sha256(tmp_path)
    assert fill(tmp_path, manifest) == []
    path = manifest.file(manifest.samples[1])
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    assert fill(tmp_path, manifest) == [1]
    # The same bytes, and so the same content.
    assert content_sha256(tmp_path) == before


def test_a_cache_that_was_left_half_full_is_filled_to_the_same(tmp_path: Path, manifest: Manifest) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    fill(whole, manifest)
    filling = cache_images(halved, manifest, PREPROCESSING, 1)
    next(filling)
    del filling  # the generator ends where it is
    # What was not flushed does not count, as after a kill.
    assert (halved / FILLING).exists()
    assert not (halved / COMPLETE).exists()
    shutil.rmtree(halved)
    # As a kill leaves it: some rows are marked, others are written in part.
    shutil.copytree(whole, halved)
    (halved / COMPLETE).unlink()
    (halved / FILLING).write_text(json.dumps(images_description(manifest, PREPROCESSING)))
    state_N = np.load(halved / "state.npy", mmap_mode="r+")
    state_N[[0, 1, 4]] = PENDING
    for size in PREPROCESSING.sizes:
        np.load(halved / f"level_{size}.index.npy", mmap_mode="r+")[4] = 10**9, 10
        with (halved / f"level_{size}.zst").open("ab") as stream:
            stream.write(b"half an image" * 1000)
    assert fill(halved, manifest) == [0, 1, 4]
    assert content_sha256(halved) == content_sha256(whole)
    good = np.array([0, 1, 3, 4])
    for size in PREPROCESSING.sizes:
        levels = [CompressedLevel(folder / f"level_{size}.zst", size) for folder in (whole, halved)]
        for row in good:
            assert np.array_equal(levels[0][row], levels[1][row])
        sizes = [(folder / f"level_{size}.zst").stat().st_size for folder in (whole, halved)]
        # What was written in part is cut off.
        again = int(np.load(halved / f"level_{size}.index.npy")[[0, 1, 4], 1].sum())
        assert sizes[1] <= sizes[0] + again


def test_a_level_is_compressed_without_loss_and_smaller() -> None:
    generator = np.random.default_rng(0)
    smooth_SS = np.add.outer(np.arange(96), np.arange(96)).astype(np.uint8)
    noisy_SS = generator.integers(0, 256, (96, 96), np.uint8)
    odd_SS = generator.integers(0, 256, (50, 50), np.uint8)  # no multiple of a block's rows
    for level_SS in (smooth_SS, noisy_SS, odd_SS, np.zeros((32, 32), np.uint8)):
        data, out_SS = compress(level_SS), np.full_like(level_SS, 7)
        decompress(data, out_SS)
        assert np.array_equal(out_SS, level_SS)
    assert len(compress(smooth_SS)) < smooth_SS.size / 10


def test_what_can_be_derived_is_not_stored() -> None:
    assert stored_sizes((256, 512, 1024, 2048)) == (256, 512, 2048)
    assert stored_sizes((1024, 4096, 2048)) == (4096,)
    assert stored_sizes((160, 320, 480, 1024)) == (160, 320, 480, 1024)
    assert [halvings(size, (1024, 2048, 4096)) for size in (1024, 2048, 4096)] == [2, 1, 0]


def test_a_derived_level_is_the_one_that_serving_sees(tmp_path: Path, manifest: Manifest) -> None:
    preprocessing = PREPROCESSING.model_copy(update={"sizes": (512, 1024, 2048)})
    one = manifest.subset(np.arange(COUNT) == 0)
    list(cache_images(tmp_path, one, preprocessing, 1))
    assert not (tmp_path / "level_1024.zst").exists()
    cache = open_films([tmp_path], [np.array([0])], [one.samples], one.labels_NF(), preprocessing.sizes)
    served = prepare(one.file(one.samples[0]).read_bytes(), preprocessing, Limits())
    for size, level_SS in served.levels.items():
        assert np.array_equal(cache.level(size)[0], level_SS)
        assert np.array_equal(cache.pyramid(0)[size], level_SS)
    assert np.array_equal(cache.level(1024)[[0]][0, 10:20], served.levels[1024][10:20])


def test_a_damaged_image_is_a_sentence(tmp_path: Path, manifest: Manifest) -> None:
    fill(tmp_path, manifest)
    index_N2 = np.load(tmp_path / "level_128.index.npy")
    with (tmp_path / "level_128.zst").open("r+b") as stream:
        stream.seek(int(index_N2[1, 0] + index_N2[1, 1] // 2))
        stream.write(b"\xff\x00\xff")
    level = CompressedLevel(tmp_path / "level_128.zst", 128)
    with pytest.raises(DatasetError, match=r"level_128\.zst: image 1 of the cache is damaged .* delete"):
        level.image(1)
    assert level.image(0).shape == (128, 128)


def test_the_rate_is_reported_beside_that_of_decoding_alone(tmp_path: Path, manifest: Manifest) -> None:
    reports: list[str] = []
    assert len(list(cache_images(tmp_path, manifest, PREPROCESSING, 2, reports.append))) == COUNT
    (report,) = reports
    rate = r"5 images in [\d.]+ s: [\d.]+ images/s with 2 processes, [\d.]+ a process"
    assert re.fullmatch(rate + r"; decoding and resizing alone: [\d.]+ images/s a process", report)


def test_a_row_counts_only_after_its_pixels_are_on_the_disk(tmp_path: Path) -> None:
    files = CacheFiles(tmp_path, {"count": 3}, {"level_64.npy": (np.uint8, (3, 64, 64))})
    files.mark(1, 1)
    assert np.load(tmp_path / "state.npy")[1] == PENDING
    files.flush()
    assert np.load(tmp_path / "state.npy").tolist() == [0, 1, 0]
    assert CacheFiles(tmp_path, {"count": 3}, {"level_64.npy": (np.uint8, (3, 64, 64))}).pending() == [0, 2]


def test_a_disk_without_room_is_said_before_the_first_film(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"need .* GB and the disk .* has"):
        CacheFiles(tmp_path, {}, {"level_2048.npy": (np.uint8, (10**9, 2048, 2048))})


def test_rows_of_several_files_look_like_one_array(tmp_path: Path) -> None:
    first, second = np.arange(24).reshape(4, 2, 3), 100 + np.arange(12).reshape(2, 2, 3)
    for name, array in (("a.npy", first), ("b.npy", second)):
        np.save(tmp_path / name, array)
    file_N, row_N = np.array([1, 0, 0, 1]), np.array([1, 3, 0, 0])
    rows = Rows((tmp_path / "a.npy", tmp_path / "b.npy"), file_N, row_N)
    plain = np.stack([second[1], first[3], first[0], second[0]])
    for key in (2, np.array([3, 0]), slice(1, 3), (1, slice(0, 1)), (slice(None), 1), np.array([], int)):
        assert np.array_equal(rows[key], plain[key])
    assert rows.shape == plain.shape
    assert np.array_equal(np.asarray(rows), plain)
    # To another process travel names, not pixels.
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent)[:], plain)


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    """Not a bus error: the room is taken before anything is written through a memory map."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(DatasetError, match=r"level_64\.npy needs .* has no room"):
            CacheFiles(tmp_path, {"images": 100}, level_arrays(100, (64,)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_room_of_a_cache_is_taken_at_once(tmp_path: Path) -> None:
    CacheFiles(tmp_path, {"images": 100}, level_arrays(100, (64,)))
    status = (tmp_path / "level_64.npy").stat()
    assert status.st_blocks * 512 >= status.st_size


def test_a_disk_that_fills_while_images_are_written_stops_the_run(tmp_path: Path, manifest: Manifest) -> None:
    """And is not taken for an image that cannot be decoded."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    filling = cache_images(tmp_path, manifest, PREPROCESSING, 1)
    try:
        next(filling)
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, before[1]))
        with pytest.raises(DatasetError, match=r"level_128\.zst needs .* has no room"):
            list(filling)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert fill(tmp_path, manifest) == list(range(COUNT))


def test_compressed_rows_of_several_folders_look_like_one_array(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    first, second = (generator.integers(0, 256, (count, 160, 160), np.uint8) for count in (4, 2))
    for name, images in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        index_N2 = np.zeros((len(images), 2), np.int64)
        writer = LevelWriter(tmp_path / name / "level_160.zst", index_N2, np.zeros(len(images), np.bool_))
        for row in reversed(range(len(images))):
            writer.write(row, images[row])
        writer.close()
        np.save(tmp_path / name / "level_160.index.npy", index_N2)
    file_N, row_N = np.array([1, 0, 0, 1]), np.array([1, 3, 0, 0])
    rows = LevelRows((tmp_path / "a", tmp_path / "b"), 160, 0, file_N, row_N)
    plain = np.stack([second[1], first[3], first[0], second[0]])
    for key in (2, np.array([3, 0]), slice(1, 3), (1, slice(0, 1)), (slice(None), 1), np.array([], int)):
        assert np.array_equal(rows[key], plain[key])
    assert (rows.shape, rows.dtype, rows.ndim) == (plain.shape, plain.dtype, plain.ndim)
    assert np.array_equal(np.asarray(rows), plain)
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent)[:], plain)
