"""Writes the examples of the OpenAPI document: answers of the demo bundle about drawn phantoms.

    python -m tests.api.examples

Run it when the fields of an answer have changed; `test_docs.py` says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from cxrserve.api import openapi
from cxrserve.settings import Settings
from tests.servers import running
from training.cli.phantoms import phantoms

ROOT = Path(__file__).parents[2]
FOLDER = Path(str(openapi._EXAMPLES))
_PATIENCE_S = 120


def answers(url: str, films: list[bytes]) -> dict[str, Any]:
    """The answers of a running service, by the name of their example."""
    parts = [("file", (f"film-{index}", film)) for index, film in enumerate(films)]
    asked = {
        "predict.json": ("/predict?heatmaps=none", parts[:1]),
        "predict_study.json": ("/predict/study?heatmaps=none", parts),
        "triage.json": ("/triage?findings=Pneumothorax", parts[:1]),
    }
    found = {}
    for name, (path, files) in asked.items():
        response = httpx.post(url + path, files=files, timeout=_PATIENCE_S)
        response.raise_for_status()
        found[name] = response.json()
    return found


def main() -> None:
    """Draw the phantoms, serve the demo bundle, and write its answers."""
    with TemporaryDirectory() as folder:
        phantoms(Path(folder), count=2)
        films = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    with running(Settings(bundle=ROOT / "models" / "demo", port=0)) as service:
        for name, answer in answers(service.url, films).items():
            (FOLDER / name).write_text(json.dumps(answer) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
