"""Ray Serve + ONNX Runtime: `python ray_onnx.py BUNDLE PORT`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request

HERE = Path(__file__).parent


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=4)
class Service:
    """One replica with all the cores."""

    def __init__(self, bundle: str) -> None:
        sys.path.insert(0, str(HERE))
        from ensemble import Ensemble  # type: ignore[import-not-found]

        self.ensemble = Ensemble(Path(bundle), threads=2)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Predict the image in the body."""
        if request.method == "GET":
            return {"ready": True}
        film = await request.body()
        return await asyncio.get_running_loop().run_in_executor(None, self.ensemble.predict, film)


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Service.bind(str(Path(sys.argv[1]).resolve())))  # type: ignore[attr-defined]
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
