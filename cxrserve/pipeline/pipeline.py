"""The pipeline from a file to its reading: decode pool, queue and predictor."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from cxrserve import __version__
from cxrserve.bundle.signature import check_source
from cxrserve.engines.base import Output
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Explain, Prediction, Predictor
from cxrserve.errors import EngineLost, ImageError
from cxrserve.film_check.decision import Decision, decide
from cxrserve.film_check.look import Look, Looker
from cxrserve.imaging.correction import NO_CORRECTION
from cxrserve.imaging.display_header import DisplayedImage
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.workers import DecodePool
from cxrserve.metrics import Metrics
from cxrserve.pipeline.observation import observation
from cxrserve.scheduling.admission import AdmissionController, Reservation
from cxrserve.scheduling.batcher import Batcher
from cxrserve.scheduling.queue import Priority
from cxrserve.scheduling.request import Cancellation, ImageRequest
from cxrserve.settings import Settings
from cxrserve.site.file import Site, adopt, check_arithmetic, read_site
from cxrserve.watch.group import OTHER, Observation
from cxrserve.watch.watch import Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The result for one radiograph: the preprocessing, the prediction, and the time of each stage."""

    image: PreparedImage
    prediction: Prediction
    timing_ms: dict[str, float]


class Pipeline:
    """Decodes files and runs the ensemble on them. `read` may be called from many threads.

    An image has its position in the queue from the moment it is admitted; the decoders run ahead while the
    engines work, and the stack and the heatmaps are computed in the caller's thread.

    Args:
        admission: opened here; by default one of its own.
        observe: called with the numbers of each film instead of the watch.

    Raises on construction:
        BundleError, EngineError: everything is verified, built and warmed up before it is ready.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics | None = None,
        admission: AdmissionController | None = None,
        observe: Callable[[Observation], None] | None = None,
    ) -> None:
        choice = choose(settings.engine, settings.precision)
        bundle = check_source(choice.load(settings.bundle), settings)
        site: Site | None = None
        if settings.site is not None:
            site, site_sha256 = read_site(settings.site)
            bundle = adopt(bundle, site, site_sha256)
        self.settings: Final = settings
        self.metrics: Final = metrics or Metrics()
        self.admission: Final = admission or AdmissionController(
            max_requests=settings.max_waiting + 1, stat_lead_s=settings.stat_lead_s
        )
        # The workers start while the engines are being built.
        self._decoders: Final = DecodePool(
            bundle.contract.preprocessing,
            Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels),
            workers=settings.decode_workers,
            timeout_s=settings.decode_timeout_s,
            memory_bytes=settings.decode_memory_bytes,
            on_replaced=self.metrics.decode_workers_restarted.inc,
        )
        try:
            self.predictor: Final = Predictor(
                bundle, choice, threads=settings.threads, streams=min(settings.streams, settings.threads)
            )
            if site is not None:
                check_arithmetic(site, self.predictor.arithmetic)
            expected_s = self.predictor.warm_up()
            self._decoders.wait_ready()
        except BaseException:
            self._decoders.close()
            raise
        section, model = bundle.contract.film_check, bundle.film_check_model
        self._looker: Final = (
            Looker(section, model)
            if section is not None and model is not None and settings.film_check != "off"
            else None
        )
        self._batcher: Final = Batcher(
            self.predictor.replicas,
            self.metrics,
            self.admission,
            batch_pixels=settings.batch_pixels,
            max_delay_s=settings.batch_delay_s,
            expected_s=expected_s,
            decoders=settings.decode_workers,
        )
        self._stations: Final[Mapping[str, str]] = {} if site is None else site.station_of
        self._observe_alone: Final = observe
        self.watch: Final = self._open_watch(settings, bundle.sha256, site)
        self.metrics.build.labels(
            __version__,
            bundle.contract.name,
            bundle.contract.version,
            bundle.sha256,
            choice.name,
            choice.version,
            self.predictor.precision,
            "" if bundle.site is None else str(bundle.site),
        ).set(1)

    def read(
        self,
        data: bytes,
        *,
        explain: Explain = "positive",
        explain_scales: bool = False,
        preview_side: int = 0,
        timeout_s: float = math.inf,
        priority: Priority = "routine",
        cancellation: Cancellation | None = None,
        reservation: Reservation | None = None,
        senders: Collection[str] = (),
    ) -> Reading:
        """Read one file.

        Args:
            data: the bytes of a DICOM, JPEG or PNG file.
            explain: the findings to compute heatmaps of.
            explain_scales: also return each scale's share of those heatmaps.
            preview_side: longest side of the grey preview for overlays; 0 for none.
            timeout_s: time the reading may take; work that waits longer is dropped.
            priority: `stat` goes before `routine`, within the head start of `Settings.stat_lead_s`.
            cancellation: set by the caller when the answer is no longer wanted; waiting work is dropped.
            reservation: its position in the queue is used; by default the last one, however long the wait.
            senders: names of the sender that a site file may have a station for: AE title, station name,
                client. Only the station's own name reaches the watch.

        Raises:
            RequestError, ImageError: the file is refused; says why.
            DeadlineExceeded: the reading was not ready in time.
            Busy: no decode worker can be started.
            EngineLost: a device failed permanently.
            Stopping: the pipeline is closed.
            Cancelled: the caller cancelled.
        """
        started = time.perf_counter()
        with self._batcher.admit(
            priority=priority, timeout_s=timeout_s, cancellation=cancellation, reservation=reservation
        ) as request:
            image, look = self._prepare(request, data, preview_side=preview_side, senders=senders)
            submitted = time.perf_counter()
            futures = {
                size: self._batcher.submit(request, size, image.levels[size]) for size in self.predictor.sizes
            }
            outputs = {size: request.result(future) for size, future in futures.items()}
            waiting_s = time.perf_counter() - submitted - sum(output.seconds for output in outputs.values())
        prediction = self.predictor.conclude(outputs, explain=explain, explain_scales=explain_scales)
        self._observe(
            observation(station=self.station_of(senders), image=image, look=look, prediction=prediction)
        )
        prediction = prediction.turned(image.quarters)
        self.metrics.stages({stage: prediction.timing_ms[stage] for stage in ("stack", "heatmaps")})
        return Reading(
            image=image,
            prediction=prediction,
            timing_ms={
                **image.timing_ms,
                "waiting": max(0.0, waiting_s * 1000),
                **prediction.timing_ms,
                "total": (time.perf_counter() - started) * 1000,
            },
        )

    def prepare(
        self, request: ImageRequest, data: bytes, *, preview_side: int = 0, senders: Collection[str] = ()
    ) -> PreparedImage:
        """Decode the file of an admitted image, in a worker process, and look at it with the film check.

        No engine has seen the image before it returns.

        Raises:
            RequestError, ImageError, DeadlineExceeded, Busy, Cancelled: as `read`.
        """
        image, look = self._prepare(request, data, preview_side=preview_side, senders=senders)
        self._observe(observation(station=self.station_of(senders), image=image, look=look))
        return image

    def station_of(self, senders: Collection[str]) -> str:
        """The name of the site file's station that one of `senders` belongs to; "other" if there is none."""
        return next((self._stations[name] for name in senders if name in self._stations), OTHER)

    def _observe(self, film: Observation) -> None:
        (self._observe_alone or self.watch.observe)(film)

    def _open_watch(self, settings: Settings, bundle_sha256: str, site: Site | None) -> Watch:
        """Open the watch; if it cannot be opened, everything that is open is closed."""
        name = f"watch-{settings.node_name}.sqlite3" if settings.node_name else "watch.sqlite3"
        try:
            return Watch(
                settings.watch / name if settings.watch is not None else None,
                self.metrics,
                key=f"{bundle_sha256} {self.predictor.arithmetic.model_dump_json()}",
                references=() if site is None else site.watch,
                site=None if site is None else site.label,
            )
        except BaseException:
            self._decoders.close()
            self._batcher.close()
            raise

    def _prepare(
        self, request: ImageRequest, data: bytes, *, preview_side: int, senders: Collection[str]
    ) -> tuple[PreparedImage, Look | None]:
        """The prepared image, and what the film check saw; a refused one is counted by the watch here."""
        request.check()
        image: PreparedImage | None = None
        look: Look | None = None
        try:
            image = self._decoders.prepare(data, preview_side=preview_side, timeout_s=request.left_s)
            if self._looker is not None:
                look = self._looker.look(image.check_SS)
                image = self._checked(look, self._looker, request, data, image, preview_side)
        except ImageError:
            self._observe(observation(station=self.station_of(senders), image=image, look=look, refused=True))
            raise
        self.metrics.stages(image.timing_ms)
        self.metrics.warnings(warning.code for warning in image.warnings)
        self.admission.decoded(request.position, sum(image.timing_ms.values()) / 1000)
        request.check()
        return image, look

    def _checked(
        self,
        look: Look,
        looker: Looker,
        request: ImageRequest,
        data: bytes,
        image: PreparedImage,
        preview_side: int,
    ) -> PreparedImage:
        """The image with the film check's warnings, prepared again where it is corrected.

        Raises:
            ImageError: the film check refuses it.
        """
        started = time.perf_counter()
        decision = decide(
            look,
            looker.section,
            mode=self.settings.film_check,
            correction=self.settings.film_check_correct,
            view_position=image.about.view_position,
            declared_inverted=image.about.photometric_interpretation == "MONOCHROME1",
        )
        self._count_check(decision)
        if decision.refusal is not None:
            raise decision.refusal
        if decision.correction != NO_CORRECTION:
            image = self._decoders.prepare(
                data,
                preview_side=preview_side,
                correction=decision.correction,
                timeout_s=request.left_s,
            )
        return replace(
            image,
            warnings=image.warnings + decision.warnings,
            timing_ms={**image.timing_ms, "film_check": (time.perf_counter() - started) * 1000},
        )

    def _count_check(self, decision: Decision) -> None:
        """Count what the film check found first on a film, and what was done about it."""
        if decision.refusal is not None:
            seen, act = decision.refusal.slug, "refused"
        else:
            seen = decision.warnings[0].code.value if decision.warnings else "ordinary"
            corrected = decision.correction != NO_CORRECTION
            act = "corrected" if corrected else "warned" if decision.warnings else "passed"
        self.metrics.film_checks.labels(seen, act).inc()

    def display(self, data: bytes, *, timeout_s: float) -> DisplayedImage:
        """Decode one file for display on a screen, without the engines and their queue.

        Raises:
            RequestError, ImageError, DeadlineExceeded, Busy: as `read`.
        """
        return self._decoders.display(data, timeout_s=timeout_s)

    def header(self, data: bytes, *, timeout_s: float) -> bytes:
        """The cleaned header of a DICOM file, for `reports.dicom`; without the engines and their queue.

        Raises:
            ImageError, DeadlineExceeded, Busy: as `read`.
        """
        return self._decoders.header(data, timeout_s=timeout_s)

    def admit(
        self,
        *,
        priority: Priority = "routine",
        timeout_s: float = math.inf,
        cancellation: Cancellation | None = None,
        reservation: Reservation | None = None,
    ) -> AbstractContextManager[ImageRequest]:
        """Admit an image of which the caller runs some scales with `run`; see `Batcher.admit`."""
        return self._batcher.admit(
            priority=priority,
            timeout_s=timeout_s,
            cancellation=cancellation,
            reservation=reservation,
            all_scales=False,
        )

    def run(self, request: ImageRequest, size: int, image_SS: NDArray[np.uint8]) -> Output:
        """Queue one scale of an admitted image, uint8 [S, S], and wait for its output.

        Raises:
            DeadlineExceeded, EngineLost, Stopping, Cancelled: as `read`.
        """
        return request.result(self._batcher.submit(request, size, image_SS))

    @property
    def lost(self) -> EngineLost | None:
        """The error of a device that failed permanently, if there is one."""
        return self.admission.failure

    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the decode workers."""
        return self._decoders.worker_pids()

    def close(self, *, drain_s: float = 0.0) -> None:
        """Admit no more images; let those inside finish for `drain_s`, then drop them. Idempotent."""
        self._batcher.drain(drain_s)
        self._decoders.close()
        self._batcher.close()
        self.watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
