"""What serving loads: no torch, no training; and the command line answers before anything heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "lightning")


def _loaded_by(statement: str) -> set[str]:
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import cxrserve.api.server, cxrserve.doctor, cxrserve.file_reader",
        "from cxrserve.engines.select import choose; choose('openvino', 'auto')",
        "from cxrserve.engines.select import choose; choose('onnxruntime', 'auto')",
    ],
)
def test_serving_loads_no_torch(statement: str) -> None:
    loaded = _loaded_by(statement)
    assert not loaded.intersection(HEAVY)
    assert not any(name == "training" or name.startswith("training.") for name in loaded)


def test_the_command_line_loads_nothing_heavy() -> None:
    loaded = _loaded_by("import cxrserve.cli")
    assert not loaded.intersection({*HEAVY, "cv2", "numpy", "openvino", "onnxruntime", "fastapi", "pydicom"})


def test_each_engine_is_loaded_only_when_chosen() -> None:
    assert "onnxruntime" not in _loaded_by(
        "from cxrserve.engines.select import choose; choose('openvino', 'f32')"
    )
    assert "openvino" not in _loaded_by(
        "from cxrserve.engines.select import choose; choose('onnxruntime', 'f32')"
    )
