"""Bytes in, a reading out: decode pool and predictor, as the service and the command line use them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from cxrserve import __version__
from cxrserve.engines.select import choose
from cxrserve.ensemble.batching import Batcher
from cxrserve.ensemble.cancellation import Cancellation
from cxrserve.ensemble.claim import Claim, Limit
from cxrserve.ensemble.job import Job
from cxrserve.ensemble.line import Priority
from cxrserve.ensemble.predictor import Explain, Prediction, Predictor
from cxrserve.errors import EngineLost
from cxrserve.imaging.displayed import DisplayedImage
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.workers import DecodePool
from cxrserve.metrics import Metrics
from cxrserve.settings import Settings

# Room in the engines' queue for callers that keep a line of their own: the archive, the command line.
_OTHERS: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One radiograph: what was done to it, what the ensemble says, and how long each stage took."""

    image: PreparedImage
    prediction: Prediction
    timing_ms: dict[str, float]


class Pipeline:
    """The decode pool beside the engines. `read` may be called from many threads.

    An image has its place in the line from the moment it is admitted; the decoders run ahead while the
    engines work, and the stack and the maps are made in the caller's thread, beside them.

    Raises on construction:
        BundleError, EngineError: everything is verified, built and warmed up before it is ready.
    """

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        choice = choose(settings.engine, settings.precision)
        bundle = choice.load(settings.bundle)
        self.settings: Final = settings
        self.metrics: Final = metrics or Metrics()
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
            expected_s = self.predictor.warm_up()
            self._decoders.wait_ready()
        except BaseException:
            self._decoders.close()
            raise
        self._batcher: Final = Batcher(
            self.predictor.owned,
            self.metrics,
            most_images=settings.max_waiting + 1 + settings.decode_workers + _OTHERS,
            batch_pixels=settings.batch_pixels,
            max_delay_s=settings.batch_delay_s,
            stat_lead_s=settings.stat_lead_s,
            expected_s=expected_s,
            decoders=settings.decode_workers,
        )
        self.metrics.build.labels(
            __version__,
            bundle.contract.name,
            bundle.contract.version,
            bundle.sha256,
            choice.name,
            choice.version,
            self.predictor.precision,
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
        cancelled: Cancellation | None = None,
        claim: Claim | None = None,
    ) -> Reading:
        """Read one file.

        Args:
            data: the bytes of a DICOM, JPEG or PNG file.
            explain: the findings to make maps of.
            explain_scales: also bring what each scale brings to those maps.
            preview_side: longest side of the grey picture to bring along for overlays; 0 for none.
            timeout_s: time the reading may take; what waits longer is dropped.
            priority: `stat` goes before `routine`, within the head start of `Settings.stat_lead_s`.
            cancelled: thrown by the caller when nobody waits any more; what has not run is dropped.
            claim: the place it takes in the line; by default the last, however long that may wait.

        Raises:
            RequestError, ImageError: the file is refused; says why.
            DeadlineExceeded: the reading was not ready in time.
            Overloaded: too many images are inside.
            EngineLost: a device has failed for good.
            NotReady: the pipeline is closed.
            Cancelled: as asked.
        """
        started = time.perf_counter()
        with self._batcher.admit(
            priority=priority, timeout_s=timeout_s, cancelled=cancelled, claim=claim
        ) as job:
            image = self.prepare(job, data, preview_side=preview_side)
            asked = time.perf_counter()
            futures = {size: job.submit(size, image.levels[size]) for size in self.predictor.sizes}
            outputs = {size: job.result(future) for size, future in futures.items()}
            waiting_s = time.perf_counter() - asked - sum(output.seconds for output in outputs.values())
        prediction = self.predictor.conclude(outputs, explain=explain, explain_scales=explain_scales)
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

    def prepare(self, job: Job, data: bytes, *, preview_side: int = 0) -> PreparedImage:
        """Decode the file of an admitted image, in a worker.

        Raises:
            RequestError, ImageError, DeadlineExceeded, NotReady, Cancelled: as `read`.
        """
        job.check()
        image = self._decoders.prepare(data, preview_side=preview_side, timeout_s=job.left_s)
        self.metrics.stages(image.timing_ms)
        self._batcher.admission.decoded(job.place, sum(image.timing_ms.values()) / 1000)
        job.check()
        return image

    def display(self, data: bytes, *, timeout_s: float) -> DisplayedImage:
        """What a screen needs of one file; the engines have no part in it, and it waits for none.

        Raises:
            RequestError, ImageError, DeadlineExceeded, NotReady: as `read`.
        """
        return self._decoders.display(data, timeout_s=timeout_s)

    def header(self, data: bytes, *, timeout_s: float) -> bytes:
        """The cleaned header of a DICOM file, for `reports.dicom`; the engines have no part in it.

        Raises:
            ImageError, DeadlineExceeded, NotReady: as `read`.
        """
        return self._decoders.header(data, timeout_s=timeout_s)

    def admit(
        self,
        *,
        priority: Priority = "routine",
        timeout_s: float = math.inf,
        cancelled: Cancellation | None = None,
        claim: Claim | None = None,
    ) -> Job:
        """A place for an image whose scales the caller submits, not always all; see `Batcher.admit`."""
        return self._batcher.admit(
            priority=priority, timeout_s=timeout_s, cancelled=cancelled, claim=claim, whole=False
        )

    def claim(self, *, priority: Priority, limit: Limit) -> Claim:
        """A place in the line for an image whose bytes are still coming; see `Admission.claim`."""
        return self._batcher.admission.claim(priority=priority, limit=limit)

    def image_s(self) -> float:
        """Seconds in which one image more is read, by what images took of late."""
        return self._batcher.admission.image_s()

    def retry_after_s(self, images: int) -> int:
        """Seconds that `images` will take, by what images took of late; at least 1."""
        return self._batcher.admission.retry_after_s(images)

    @property
    def lost(self) -> EngineLost | None:
        """What a device has failed with, where it will not work for this process any more."""
        return self._batcher.lost

    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the decode workers."""
        return self._decoders.worker_pids()

    def close(self, *, drain_s: float = 0.0) -> None:
        """Admit no more; let the images inside finish for `drain_s`, then drop them. Idempotent."""
        self._batcher.drain(drain_s)
        self._decoders.close()
        self._batcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
