"""Tests of imports: serving loads no torch and no training, and the command line nothing heavy."""

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
        "import cxrserve.api.server, cxrserve.cli.doctor, cxrserve.cli.predict",
        "import cxrserve.cli.site, cxrserve.cli.site_films, cxrserve.site.draft, cxrserve.site.check",
        "from cxrserve.engines.select import choose; choose('openvino', 'auto')",
        "from cxrserve.engines.select import choose; choose('onnxruntime', 'auto')",
    ],
)
def test_serving_loads_no_torch(statement: str) -> None:
    loaded = _loaded_by(statement)
    assert not loaded.intersection(HEAVY)
    assert not any(name == "training" or name.startswith("training.") for name in loaded)


def test_calibration_site_and_watch_need_no_statistics_library() -> None:
    loaded = _loaded_by(
        "import cxrserve.ensemble.calibration, cxrserve.film_check.look, cxrserve.site.draft, "
        "cxrserve.site.check, cxrserve.watch.watch"
    )
    assert not loaded & {"scipy", "sklearn", "pandas", "statsmodels", "matplotlib"}


def test_the_command_line_loads_nothing_heavy() -> None:
    loaded = _loaded_by("import cxrserve.cli.main")
    assert not loaded.intersection({*HEAVY, "cv2", "numpy", "openvino", "onnxruntime", "fastapi", "pydicom"})


def test_each_engine_is_loaded_only_when_chosen() -> None:
    assert "onnxruntime" not in _loaded_by(
        "from cxrserve.engines.select import choose; choose('openvino', 'f32')"
    )
    assert "openvino" not in _loaded_by(
        "from cxrserve.engines.select import choose; choose('onnxruntime', 'f32')"
    )


def test_the_torch_engine_alone_loads_torch_and_no_training() -> None:
    loaded = _loaded_by("from cxrserve.engines.select import choose; choose('torch', 'f32')")
    assert "torch" in loaded
    assert not loaded.intersection({"torchvision", "timm", "lightning", "openvino", "training"})


def test_archives_on_one_machine_load_no_ray() -> None:
    assert "ray" not in _loaded_by("import cxrserve.cli.bulk, cxrserve.bulk.run, cxrserve.pacs.web_source")
