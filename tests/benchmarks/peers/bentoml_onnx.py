"""BentoML + ONNX Runtime: `BUNDLE=… bentoml serve bentoml_onnx:Service --port PORT`, in this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

try:
    from tests.benchmarks.peers.ensemble import Ensemble
except ImportError:
    from ensemble import Ensemble  # type: ignore[no-redef,import-not-found]


@bentoml.service(workers=1, traffic={"timeout": 300})
class Service:
    """One worker with all the cores."""

    def __init__(self) -> None:
        self.ensemble = Ensemble(Path(os.environ["BUNDLE"]))

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, film: Annotated[Path, ContentType("application/octet-stream")], /) -> dict[str, Any]:
        """Predict the image in the body."""
        return self.ensemble.predict(film.read_bytes())
