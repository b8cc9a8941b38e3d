"""Films into the cache: what serving would see, each film once; what cannot be decoded is listed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing
from training.cache import cache_images, content_sha256, open_films, undecodable
from training.cache.files import COMPLETE, FILLING, PENDING, CacheFiles
from training.cache.rows import Rows
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
    assert cache.places_NFGG is None
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
    np.load(halved / "state.npy", mmap_mode="r+")[3] = 1
    np.load(halved / "level_64.npy", mmap_mode="r+")[3] = np.load(whole / "level_64.npy")[3]
    np.load(halved / "level_128.npy", mmap_mode="r+")[3] = np.load(whole / "level_128.npy")[3]
    for name in ("sha256.npy", "stats.npy"):
        np.load(halved / name, mmap_mode="r+")[3] = np.load(whole / name)[3]
    assert 3 not in fill(halved, manifest)
    assert content_sha256(halved) == content_sha256(whole)
    for size in PREPROCESSING.sizes:
        assert (halved / f"level_{size}.npy").read_bytes() == (whole / f"level_{size}.npy").read_bytes()


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
