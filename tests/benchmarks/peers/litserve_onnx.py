"""LitServe + ONNX Runtime: `python litserve_onnx.py BUNDLE PORT`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Body

try:
    from tests.benchmarks.peers.ensemble import Ensemble
except ImportError:
    from ensemble import Ensemble  # type: ignore[no-redef,import-not-found]


class Api(litserve.LitAPI):  # type: ignore[misc]
    """One worker with all the cores."""

    def __init__(self, bundle: Path) -> None:
        super().__init__()
        self.bundle = bundle

    def setup(self, device: str) -> None:
        """Load the ensemble in the worker."""
        self.ensemble = Ensemble(self.bundle)

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """The film as the body."""
        return request

    def predict(self, film: bytes) -> dict[str, Any]:
        """Predict one image."""
        return self.ensemble.predict(film)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Api(Path(sys.argv[1])), accelerator="cpu", timeout=300)
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
