"""Prometheus metrics: one registry for each pipeline, with names that dashboards rely on.

No label value comes from a user: sizes, stages, priorities, routes and reasons are few and fixed.
"""

from __future__ import annotations

from collections.abc import Iterable
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
            [
                "version",
                "bundle",
                "bundle_version",
                "bundle_sha256",
                "engine",
                "engine_version",
                "precision",
                "site",
            ],
            registry=self.registry,
        )
        self.queue_depth: Final = self._gauge(
            "cxrserve_queue_depth", "Images waiting for the engine of this size.", "size"
        )
        self.queue_wait: Final = self._histogram(
            "cxrserve_queue_wait_seconds", "Time from queueing to the start of the batch.", "size", "priority"
        )
        self.queue_dropped: Final = self._counter(
            "cxrserve_queue_dropped",
            "Queued scales of images that were dropped before they ran.",
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
            "Time a new image would wait for the engines; admission decides by it.",
            "priority",
        )
        self.stage_seconds: Final = self._histogram(
            "cxrserve_stage_seconds",
            "Time of one stage: decode, pyramid, engine_<size> (one run), stack, heatmaps, drawing.",
            "stage",
        )
        self.engine_busy: Final = self._counter(
            "cxrserve_engine_busy_seconds",
            "Time a device was computing; its rate is the busy share.",
            "device",
        )
        self.requests: Final = self._counter(
            "cxrserve_requests", "HTTP requests, by route and status.", "path", "status"
        )
        self.request_seconds: Final = self._histogram(
            "cxrserve_request_seconds", "Time from the first header to the last byte of the answer.", "path"
        )
        self.rejections: Final = self._counter(
            "cxrserve_rejections",
            "Requests without a result, by the slug of the problem or another reason.",
            "reason",
        )
        self.received: Final = self._counter(
            "cxrserve_received",
            "Objects received by the station, by protocol and outcome.",
            "protocol",
            "outcome",
        )
        self.deliveries: Final = self._counter(
            "cxrserve_deliveries",
            "Attempts to deliver results, by destination and outcome: done, waiting for the next, dead.",
            "destination",
            "outcome",
        )
        self.workitems: Final = self._counter(
            "cxrserve_workitems",
            "Workitems of worklists, by outcome: claimed, taken (by another performer), completed, canceled, "
            "dropped; refused: searches and requests that the manager did not answer with success.",
            "worklist",
            "outcome",
        )
        self.associations: Final = Gauge(
            "cxrserve_dicom_associations", "Open DICOM associations.", registry=self.registry
        )
        self.dicom_rejections: Final = self._counter(
            "cxrserve_dicom_rejections",
            "DICOM associations, and presentation contexts in them, that the node rejected.",
            "reason",
        )
        self.image_warnings: Final = self._counter(
            "cxrserve_image_warnings", "Warnings about images that were analysed, by code.", "code"
        )
        self.film_checks: Final = self._counter(
            "cxrserve_film_check",
            "Films that the film check looked at, by the first thing it found and by what was done.",
            "seen",
            "act",
        )
        self.watch_evidence: Final = Gauge(
            "cxrserve_watch_evidence",
            "Evidence that the films have changed, log10; the alarm is on from log10(365) = 2.56 on.",
            registry=self.registry,
        )
        self.watch_alarm: Final = Gauge(
            "cxrserve_watch_alarm",
            "1 while the films differ from the reference, else 0.",
            registry=self.registry,
        )
        self.watch_stream_evidence: Final = self._gauge(
            "cxrserve_watch_stream_evidence",
            "Share of one stream of numbers in the evidence, log10.",
            "station",
            "view",
            "stream",
        )
        self.watch_films: Final = self._counter(
            "cxrserve_watch_films", "Films that the watch has counted.", "station", "view"
        )
        self.watch_positives: Final = self._counter(
            "cxrserve_watch_positives", "Films at or above a finding's operating point.", "station", "finding"
        )
        self.watch_expected: Final = self._counter(
            "cxrserve_watch_expected_positives",
            "Sum of the probabilities of a finding: as many films should show it.",
            "station",
            "finding",
        )
        self.decode_workers_restarted: Final = Counter(
            "cxrserve_decode_workers_restarted",
            "Decode workers that crashed or were killed, and were replaced.",
            registry=self.registry,
        )

    def request(self, path: str | None, status: int, outcome: str, seconds: float) -> None:
        """Count one HTTP request; `path` is that of its route, None if it has no route."""
        route = path or "none"
        self.requests.labels(route, status).inc()
        self.request_seconds.labels(route).observe(seconds)
        if outcome != "ok":
            self.rejections.labels(outcome).inc()

    def stages(self, timing_ms: dict[str, float]) -> None:
        """Record the stages of one image outside the engines."""
        for stage, ms in timing_ms.items():
            self.stage_seconds.labels(stage).observe(ms / 1000)

    def warnings(self, codes: Iterable[str]) -> None:
        """Count the warnings about one image."""
        for code in codes:
            self.image_warnings.labels(code).inc()

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(name, help_, labels, registry=self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, *labels: str) -> Histogram:
        return Histogram(name, help_, labels, buckets=_SECONDS, registry=self.registry)
