"""TensorRT's real Python bindings, over a stub of its libraries: every name that we use is there.

The bindings need nine C functions of three libraries. With these as a stub they can be imported on a machine
without a GPU, a driver or TensorRT itself; objects cannot be made of them, but classes can be looked at.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = Path(__file__).resolve().parents[2] / "cxrserve" / "engines"
_STUB = "".join(
    f"long {name}(void) {{ return 0; }}\n"
    for name in (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getBuilderPluginRegistry",
        "getNvOnnxParserVersion",
        "getPluginRegistry",
        "initLibNvInferPlugins",
    )
)
_LIBRARIES = ("libnvinfer.so.11", "libnvinfer_plugin.so.11", "libnvonnxparser.so.11")
# Classes of the objects that tensorrt.py and tensorrt_build.py hold, by the names that they hold them under.
_CLASSES = {
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
}
_PROGRAM = """
import importlib, json, sys, types
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from cxrserve.engines import cuda
cuda.driver_version = lambda: "none"
from cxrserve.engines import tensorrt as ours, tensorrt_build
from cxrserve.errors import EngineError
missing = []
for name in json.loads(sys.argv[1]):
    value = tensorrt_bindings
    for part in name.split("."):
        if not hasattr(value, part):
            missing.append(name)
            break
        value = getattr(value, part)
refused = []
for make in (tensorrt_bindings.Runtime, tensorrt_bindings.Builder):
    try:
        ours.started(make, ours.Log())
    except EngineError as error:
        refused.append(str(error))

def complains(log):
    log.log(tensorrt_bindings.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
    return object()

try:
    ours.started(complains, ours.Log())
except EngineError as error:
    refused.append(str(error))
json.dump({"missing": missing, "refused": refused, "version": ours.VERSION}, sys.stdout)
"""


def names_used() -> set[str]:
    """Names of TensorRT in our two files: those of the module, and those of the objects we hold."""
    names: set[str] = set()
    for file in ("tensorrt.py", "tensorrt_build.py"):
        tree = ast.parse((ENGINES / file).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            parts, value = [node.attr], node.value
            while isinstance(value, ast.Attribute):
                parts.insert(0, value.attr)
                value = value.value
            if isinstance(value, ast.Name) and value.id == "trt":
                names.add(".".join(parts))
            elif isinstance(value, ast.Name):
                holder = parts[0] if value.id == "self" else value.id
                if holder in _CLASSES and (value.id != "self" or len(parts) > 1):
                    names.add(f"{_CLASSES[holder]}.{parts[-1]}")
    return names


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The findings of a process that has loaded the real bindings."""
    compiler = shutil.which("cc")
    if compiler is None or importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("needs a C compiler and tensorrt-cu13-bindings")
    folder = tmp_path_factory.mktemp("stub")
    source = folder / "stub.c"
    source.write_text(_STUB)
    for library in _LIBRARIES:
        subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(sorted(names_used()))],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_every_name_is_in_the_real_bindings(said: dict[str, list[str]]) -> None:
    names = names_used()
    assert len(names) >= 35
    assert {"ICudaEngine.device_memory_size_v2", "OnnxParser.parse", "BuilderFlag.TF32"} <= names
    assert said["missing"] == []


def test_a_runtime_that_does_not_start_is_refused_and_never_used(said: dict[str, list[str]]) -> None:
    runtime, builder, complaint = said["refused"]
    assert "it does not say why" in runtime
    assert "it does not say why" in builder
    assert "error: 35" in complaint, "an object that comes with an error in the log is not used"
