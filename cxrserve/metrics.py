"""What Prometheus may ask: one registry for each pipeline, names that dashboards rely on.

No label comes from a user: sizes, stages, priorities, routes and reasons are all ours, and few.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

# 5 ms to a minute: one scale at 256 pixels up to what a request may take.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES: Final = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters, gauges and histograms of one pipeline and of the service around it."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.build: Final = Gauge(
            "cxrserve_build_info",
            "Always 1; its labels say what is being served.",
            ["version", "bundle", "bundle_version", "bundle_sha256", "engine", "engine_version", "precision"],
            registry=self.registry,
        )
        self.queue_depth: Final = self._gauge(
            "cxrserve_queue_depth", "Images that wait for the engine of this size.", "size"
        )
        self.queue_wait: Final = self._histogram(
            "cxrserve_queue_wait_seconds", "From being queued to the start of its batch.", "size", "priority"
        )
        self.queue_dropped: Final = self._counter(
            "cxrserve_queue_dropped",
            "Queued work that was dropped before it ran.",
            "size",
            "reason",
        )
        self.batch_images: Final = Histogram(
            "cxrserve_batch_images",
            "Images in one run of an engine.",
            ["size"],
            buckets=_IMAGES,
            registry=self.registry,
        )
        self.images_inside: Final = Gauge(
            "cxrserve_images_inside",
            "Images admitted and not finished: decoding, waiting, running.",
            registry=self.registry,
        )
        self.expected_wait: Final = self._gauge(
            "cxrserve_expected_wait_seconds",
            "Time that an image which comes now would wait for the engines; what admission goes by.",
            "priority",
        )
        self.stage_seconds: Final = self._histogram(
            "cxrserve_stage_seconds",
            "Time of one stage: decode, pyramid, engine_<size> (one run), stack, heatmaps, drawing.",
            "stage",
        )
        self.engine_busy: Final = self._counter(
            "cxrserve_engine_busy_seconds",
            "Time a device computed; its rate is the busy share.",
            "device",
        )
        self.requests: Final = self._counter(
            "cxrserve_requests", "HTTP requests, by route and status.", "path", "status"
        )
        self.request_seconds: Final = self._histogram(
            "cxrserve_request_seconds", "From the first header to the last byte of the answer.", "path"
        )
        self.rejections: Final = self._counter(
            "cxrserve_rejections",
            "Requests that got no result, by the problem's slug or what else befell them.",
            "reason",
        )
        self.received: Final = self._counter(
            "cxrserve_received",
            "Objects that came to the station, by protocol and by what became of them.",
            "protocol",
            "outcome",
        )
        self.deliveries: Final = self._counter(
            "cxrserve_deliveries",
            "Tries to deliver results, by destination and what became of them: done, waiting for more, dead.",
            "destination",
            "outcome",
        )
        self.associations: Final = Gauge(
            "cxrserve_dicom_associations", "DICOM associations that are open.", registry=self.registry
        )
        self.decode_workers_restarted: Final = Counter(
            "cxrserve_decode_workers_restarted",
            "Decode workers that ended or were ended, and were replaced.",
            registry=self.registry,
        )

    def request(self, path: str | None, status: int, outcome: str, seconds: float) -> None:
        """Note one HTTP request: `path` is its route's own, None where it has none."""
        route = path or "none"
        self.requests.labels(route, status).inc()
        self.request_seconds.labels(route).observe(seconds)
        if outcome != "ok":
            self.rejections.labels(outcome).inc()

    def stages(self, timing_ms: dict[str, float]) -> None:
        """Note the stages of one image that ran outside of the engines."""
        for stage, ms in timing_ms.items():
            self.stage_seconds.labels(stage).observe(ms / 1000)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(name, says, labels, registry=self.registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, *labels: str) -> Histogram:
        return Histogram(name, says, labels, buckets=_SECONDS, registry=self.registry)
