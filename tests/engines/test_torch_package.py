"""Packages of the torch engine, compiled for this machine's CPU: answers, keys, and what is not loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from cxrserve.bundle.contract import load_bundle
from cxrserve.cli.main import app
from cxrserve.engines import engine_cache, torch_build, torch_package
from cxrserve.engines.base import Output
from cxrserve.engines.gate import films
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from cxrserve.engines.torch import OneByOne, TorchEngine
from cxrserve.engines.torch_graph import TorchGraph
from cxrserve.engines.torch_package import Package
from cxrserve.errors import EngineError
from tests.bundles import write_tiny_bundle

SIZE = 64
SAME_SUMS = 1e-4  # of the outputs' spread; other kernels add up in another order

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="packages are compiled for the GPU"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("package") / "bundle", sizes=(SIZE,))


@pytest.fixture(scope="module")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache after `cxrserve models build --engine torch`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        said = CliRunner().invoke(app, ["models", "build", str(bundle), "--engine", "torch"])
        assert said.exit_code == 0, said.output
        assert f"cpu, {SIZE} in f32: " in said.output
        assert "built before" not in said.output
        yield engine_cache.cache_folder()


@pytest.fixture
def cache(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own with what was built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(built, engine_cache.cache_folder())
    return engine_cache.cache_folder()


def engine(bundle: Path, threads: int = 1, streams: int = 1) -> TorchEngine:
    model = load_bundle(bundle).models[SIZE]
    return TorchEngine(model, size=SIZE, precision="f32", threads=threads, streams=streams)


def test_a_package_answers_as_onnx_runtime(bundle: Path, cache: Path) -> None:
    ours = engine(bundle, threads=2, streams=2)
    assert ours.packaged == (1,)
    assert isinstance(ours._runs, OneByOne)
    assert isinstance(ours._runs._runs, Package)
    images = films(SIZE, 3)
    model = load_bundle(bundle).models[SIZE]
    expected = OnnxRuntimeEngine(model, size=SIZE, precision="f32", threads=1, cpu=True).run(images)
    found = ours.run(images)
    for answers, others in ((found.logits_NF, expected.logits_NF), (found.maps_NFhw, expected.maps_NFhw)):
        assert np.abs(answers - others).max() <= SAME_SUMS * others.std()


def test_without_a_package_the_graph_is_run(bundle: Path, built: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        ours = engine(bundle)
    assert ours.packaged == ()
    assert ours.run(films(SIZE, 1)).logits_NF.shape == (1, 14)


def test_what_was_built_is_not_built_again(bundle: Path, cache: Path) -> None:
    files = {path.name for path in cache.iterdir()}
    said = CliRunner().invoke(app, ["models", "build", str(bundle), "--engine", "torch"])
    assert said.exit_code == 0, said.output
    assert "(built before)" in said.output
    assert {path.name for path in cache.iterdir()} == files


@pytest.mark.parametrize("what", ["torch", "processor", "graph"])
def test_a_package_for_something_else_is_not_taken(
    what: str, bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_bundle(bundle).models[SIZE]
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "2.99")
    elif what == "processor":
        monkeypatch.setattr(torch_package, "_cpu", lambda: ("another", "x86_64"))
    else:
        model += b"\x1a\x00"  # an empty domain: the same graph, other bytes
    ours = TorchEngine(model, size=SIZE, precision="f32", threads=1)
    assert ours.packaged == ()


def test_a_changed_package_is_refused(bundle: Path, cache: Path) -> None:
    (package,) = cache.glob("*.engine")
    package.write_bytes(package.read_bytes()[:-1] + b"\x01")
    with pytest.raises(EngineError, match="changed or damaged"):
        engine(bundle)


def test_a_package_that_others_may_write_is_refused(bundle: Path, cache: Path) -> None:
    (package,) = cache.glob("*.engine")
    package.chmod(0o666)
    with pytest.raises(EngineError, match="others may write"):
        engine(bundle)


def test_a_package_that_torch_does_not_load_says_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"does not load a package that was built here: .*To do without"):
        Package(b"no package", device="cpu")


def test_a_package_that_answers_otherwise_is_not_kept(
    bundle: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package,) = built.glob("*.engine")
    content, run = package.read_bytes(), OneByOne.run

    def wrong(self: OneByOne, image_N1SS: NDArray[np.uint8]) -> Output:
        output = run(self, image_N1SS)
        output.maps_NFhw[-1] += 1000
        return output

    monkeypatch.setattr(OneByOne, "run", wrong)
    monkeypatch.setattr(torch_build, "build", lambda *_, **__: content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = CliRunner().invoke(app, ["models", "build", str(bundle), "--engine", "torch"])
    assert isinstance(said.exception, EngineError)
    assert "differs from single precision" in said.exception.detail
    assert not list(engine_cache.cache_folder().iterdir())


def test_a_graph_that_cannot_be_compiled_is_refused_with_the_reason(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    graph = TorchGraph(load_bundle(bundle).models[SIZE], size=SIZE, device="cpu")
    with pytest.raises(EngineError, match=r"cannot compile the member of size 64 for 1 images: .*g\+\+"):
        torch_build.build(graph, size=SIZE, bucket=1, device="cpu")


def test_a_package_is_loaded_without_a_compiler(bundle: Path, cache: Path) -> None:
    """Loading brings neither torch's compiler nor Triton, and unpickles nothing."""
    script = (
        "import pickle, sys; from pathlib import Path;"
        "from cxrserve.bundle.contract import load_bundle; from cxrserve.engines.torch import TorchEngine;"
        f"model = load_bundle(Path({str(bundle)!r})).models[{SIZE}];"
        "pickle.loads = pickle.load = pickle.Unpickler = None;"
        f"engine = TorchEngine(model, size={SIZE}, precision='f32', threads=1);"
        "print(engine.packaged, sorted({'torch._inductor', 'triton'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "(1,) []"
