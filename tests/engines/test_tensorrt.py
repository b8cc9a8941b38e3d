"""Tests of TensorRT's engine without a GPU: batches, buffers, keys, the cache of code, gates, messages."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines import cuda, engine_cache
from cxrserve.engines.base import Output
from cxrserve.engines.buckets import BufferPlan, buckets_of, split
from cxrserve.engines.engine_cache import BuiltGate, EngineKey, find, keep, not_built
from cxrserve.engines.gate import TOLERANCE, films, gate
from cxrserve.engines.select import choose
from cxrserve.errors import EngineError, EngineLost
from tests.bundles import write_tiny_bundle
from tests.engines.host_cuda import HostCuda

SIZE = 64
KEY = EngineKey(
    onnx_sha256="ab" * 32,
    builder="TensorRT 11.4.0",
    architecture="sm_90",
    device="NVIDIA H200",
    driver="580.65.06",
    precision="fp16",
    buckets=(1, 2, 4),
)
GATES = (BuiltGate(bucket=1, logits=0.001, maps=0.002),)


def test_small_images_have_large_batches() -> None:
    assert buckets_of(256) == (1, 2, 4, 8, 16, 32, 64)
    assert buckets_of(1024) == (1, 2, 4, 8, 16)
    assert buckets_of(2048) == (1, 2, 4)
    assert buckets_of(8192) == (1,)


@given(images=st.integers(1, 500), size=st.sampled_from([256, 512, 1024, 2048]))
def test_every_image_is_in_a_batch_that_holds_it_and_none_is_half_empty(images: int, size: int) -> None:
    buckets = buckets_of(size)
    runs = split(images, buckets)
    assert sum(count for count, _ in runs) == images
    assert all(bucket in buckets and bucket / 2 < count <= bucket for count, bucket in runs)
    assert len(runs) == -(-images // buckets[-1])


def test_only_bytes_of_grey_go_to_the_gpu() -> None:
    plan = BufferPlan.of(2048).bytes_of(4)
    assert plan == {"image": 4 * 2048 * 2048, "logits": 4 * 14 * 4, "maps": 4 * 14 * 64 * 64 * 4}


def test_a_built_engine_is_found_by_all_that_it_depends_on(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    keep(folder, KEY, b"engine", GATES)
    found = find(folder, KEY)
    assert found is not None
    assert (found[0], found[1].gates) == (b"engine", GATES)
    others = {
        "onnx_sha256": "cd" * 32,
        "builder": "TensorRT 11.5.0",
        "architecture": "sm_100",
        "device": "NVIDIA B200",
        "driver": "590.1",
        "precision": "f32",
        "buckets": (1, 2),
    }
    assert set(others) == set(EngineKey.model_fields)
    for field, value in others.items():
        assert find(folder, KEY.model_copy(update={field: value})) is None


def test_a_changed_engine_is_refused(tmp_path: Path) -> None:
    file = keep(tmp_path / "engines", KEY, b"engine", GATES)
    file.write_bytes(b"enginE")
    with pytest.raises(EngineError, match="changed or damaged"):
        find(file.parent, KEY)


def test_code_that_others_could_have_written_is_refused(tmp_path: Path) -> None:
    file = keep(tmp_path / "engines", KEY, b"engine", GATES)
    assert os.stat(file.parent).st_mode & 0o777 == 0o700
    file.chmod(0o666)
    with pytest.raises(EngineError, match="others may write"):
        find(file.parent, KEY)
    file.chmod(0o600)
    file.parent.chmod(0o777)
    with pytest.raises(EngineError, match="others may write"):
        find(file.parent, KEY)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    file = keep(tmp_path / "engines", KEY, b"engine", GATES)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(EngineError, match="is a link"):
        find(file.parent, KEY)


def test_an_engine_of_which_the_description_is_missing_was_never_built(tmp_path: Path) -> None:
    file = keep(tmp_path / "engines", KEY, b"engine", GATES)
    file.with_suffix(".json").unlink()
    assert find(file.parent, KEY) is None


def test_engines_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_cache.cache_folder() == tmp_path / "cxrserve" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert engine_cache.cache_folder() == tmp_path / ".cache" / "cxrserve" / "engines"


def test_a_user_without_a_home_is_told_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match="Set XDG_CACHE_HOME"):
        engine_cache.prepare(tmp_path / "file" / "cxrserve" / "engines")


def test_a_missing_engine_says_how_to_build_it() -> None:
    assert "cxrserve models build" in not_built(2048, KEY).detail
    assert "NVIDIA H200" in not_built(2048, KEY).detail


class Wrong:
    """A real engine whose answers are changed on the way out, from the given batch on."""

    def __init__(self, engine: object, from_batch: int, *, logits: float = 0.0, maps: float = 0.0) -> None:
        self._engine, self._from, self._logits, self._maps = engine, from_batch, logits, maps

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        output = self._engine.run(image_N1SS)  # type: ignore[attr-defined]
        late = len(image_N1SS) >= self._from
        return Output(
            logits_NF=output.logits_NF + np.float32(late * self._logits if late else 0),
            maps_NFhw=output.maps_NFhw + np.float32(self._maps if late else 0),
        )


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"logits": float("nan")}, "inf standard deviations in a logit, in a batch of 4"),
        ({"maps": float("inf")}, "inf standard deviations in a map, in a batch of 4"),
        ({"logits": 1000.0}, "deviations in a logit, in a batch of 4"),
        ({"maps": 1000.0}, "deviations in a map, in a batch of 4"),
    ],
)
def test_the_gate_refuses_one_bad_batch_size(wrong: dict[str, float], what: str, tmp_path: Path) -> None:
    model = load_bundle(write_tiny_bundle(tmp_path / "bundle", sizes=(SIZE,))).models[SIZE]
    engine = choose("onnxruntime", "f32").build(model, size=SIZE, threads=1)
    gates = gate(engine, engine, SIZE, (1, 2, 4))
    assert [each.bucket for each in gates] == [1, 2, 4]
    assert all(each.logits <= TOLERANCE and each.maps <= TOLERANCE for each in gates)
    with pytest.raises(EngineError, match=what):
        gate(Wrong(engine, 4, **wrong), engine, SIZE, (1, 2, 4))


def test_gates_are_measured_on_images_that_differ() -> None:
    images = films(SIZE, 4)
    assert images.shape == (4, 1, SIZE, SIZE)
    assert images.std() > 40
    assert len({image.tobytes() for image in images}) == 4
    np.testing.assert_array_equal(images, films(SIZE, 4))


def test_errors_of_the_gpu_say_what_to_do() -> None:
    cuda.check("cudaMalloc", 0, lambda code: "no error")
    with pytest.raises(EngineError, match=r"refused cudaMalloc: out of memory \(CUDA error 2\); use fewer"):
        cuda.check("cudaMalloc", 2, lambda code: "out of memory")
    with pytest.raises(EngineError, match=r"not supported \(CUDA error 801\)$"):
        cuda.check("cudaGraphLaunch", 801, lambda code: "not supported")
    with pytest.raises(EngineLost, match=r"an illegal address \(CUDA error 700\).*to be started again"):
        cuda.check("cudaGraphLaunch", 700, lambda code: "an illegal address")


def _has_runtime() -> bool:
    try:
        cuda.runtime()
    except EngineError:
        return False
    return True


# torch from the registry brings it along on Linux, with a GPU or without.
needs_runtime = pytest.mark.skipif(not _has_runtime(), reason="the CUDA runtime is not installed")


@needs_runtime
def test_every_function_that_is_called_is_in_the_runtime() -> None:
    """Of CUDA itself; and `host_cuda`, which stands in for it, has the same."""
    called = set(re.findall(r'call\(\s*"(cuda\w+)"', Path(cuda.__file__).read_text()))
    assert {"cudaMalloc", "cudaFree", "cudaGraphLaunch", "cudaGraphExecDestroy"} <= called
    for name in called:
        assert hasattr(cuda.runtime(), name), name
        assert hasattr(HostCuda, "_" + name.removeprefix("cuda")), name


@needs_runtime
@pytest.mark.skipif(cuda.device_count() > 0, reason="this machine has a GPU")
def test_the_real_runtime_says_why_it_refuses() -> None:
    with pytest.raises(EngineError, match=r"refused cudaMalloc: .+ \(CUDA error \d+\)"):
        cuda.device_memory(1)


def test_a_machine_without_a_driver_has_no_gpu(tmp_path: Path) -> None:
    assert cuda.device_count("libcuda-that-is-not-there.so") == 0
    assert cuda.driver_version(tmp_path / "version") == "unknown"


def test_the_drivers_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")
    assert cuda.driver_version(file) == "580.65.06"


@pytest.mark.skipif(cuda.device_count() > 0, reason="this machine has a GPU")
def test_tensorrt_by_name_says_what_is_missing() -> None:
    with pytest.raises(EngineError, match=r"cxrserve\[gpu\]|needs an NVIDIA GPU"):
        choose("tensorrt", "auto")
