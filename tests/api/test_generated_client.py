"""A typed client that a stranger's generator makes from the OpenAPI document, against the running service."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cxrserve.findings import NAMES
from tests.servers import Running
from tests.test_licences import ALLOWED, FORBIDDEN, licence
from training.phantom.files import write_phantoms

GENERATOR = Path(sys.prefix) / "generator"
PACKAGE = "generated_cxrserve_client"


@pytest.fixture(scope="module")
def generated(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the package that was generated from the running service's document."""
    if not GENERATOR.is_dir():
        pytest.skip("the generator is not installed: the first lines of tests/api/generator.txt say how")
    folder = tmp_path_factory.mktemp("generated")
    (folder / "config.yaml").write_text("post_hooks: []\n")
    command = [
        sys.executable,
        "-m",
        "openapi_python_client",
        "generate",
        "--meta",
        "none",
    ]
    command += ["--url", f"{server.url}/openapi.json", "--output-path", str(folder / PACKAGE)]
    done = subprocess.run(
        [*command, "--config", str(folder / "config.yaml")],
        env={**os.environ, "PYTHONPATH": str(GENERATOR)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder / PACKAGE


def part(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


def file(data: bytes) -> Any:
    return part("types").File(payload=io.BytesIO(data), file_name="upload")


def test_the_generator_may_be_used() -> None:
    if not GENERATOR.is_dir():
        pytest.skip("the generator is not installed")
    for dist in distributions(path=[str(GENERATOR)]):
        said = licence(dist)
        assert ALLOWED.search(said), (dist.name, said)
        assert not FORBIDDEN.search(said)


def test_every_route_has_a_function(generated: Path) -> None:
    functions = {path.stem for path in (generated / "api").rglob("*.py")}
    assert {"predict", "predict_study", "triage", "display", "model", "readyz", "watch"} <= functions


def test_a_phantom_is_read_with_types(generated: Path, server: Running, tmp_path: Path) -> None:
    write_phantoms(tmp_path, 1, 0, "jpeg")
    film = (tmp_path / "phantom_000000.jpg").read_bytes()
    models = part("models")
    with part("client").Client(base_url=server.url, timeout=60) as client:
        answer = part("api.predict.predict").sync(
            client=client, body=models.PredictFilesBody(file=file(film)), heatmaps="Cardiomegaly"
        )
    assert isinstance(answer, models.Answer)
    assert [each.finding.value for each in answer.findings] == list(NAMES)
    assert all(isinstance(each.finding, models.FindingName) for each in answer.findings)
    assert all(0 <= each.probability <= 1 for each in answer.findings)
    (drawn,) = (each for each in answer.findings if each.heatmap is not None)
    assert drawn.finding is models.FindingName.CARDIOMEGALY
    assert drawn.heatmap.width > 0
    assert answer.model.name == "tiny"


def test_a_refusal_is_a_typed_problem(generated: Path, server: Running) -> None:
    models = part("models")
    with part("client").Client(base_url=server.url, timeout=60) as client:
        response = part("api.predict.predict").sync_detailed(
            client=client, body=models.PredictFilesBody(file=file(b"no image"))
        )
    assert response.status_code == 415
    assert isinstance(response.parsed, models.Problem)
    assert response.parsed.type_ == "/problems/unsupported-format"
    assert "DICOM, JPEG or PNG" in response.parsed.detail
