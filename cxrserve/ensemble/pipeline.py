"""Bytes in, a reading out: decode pool and predictor, as the service and the command line use them."""

from __future__ import annotations

import math
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from cxrserve.engines.select import choose
from cxrserve.ensemble.bundle import load_bundle
from cxrserve.ensemble.predictor import Explain, Levels, Prediction, Predictor
from cxrserve.errors import DeadlineExceeded, NotReady
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.workers import DecodePool
from cxrserve.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One radiograph: what was done to it, what the ensemble says, and how long each stage took."""

    image: PreparedImage
    prediction: Prediction
    timing_ms: dict[str, float]


class Pipeline:
    """The decode pool beside the engines. `read` may be called from many threads.

    Raises on construction:
        BundleError, EngineError: everything is verified, built and warmed up before it is ready.
    """

    def __init__(self, settings: Settings) -> None:
        bundle = load_bundle(settings.bundle)
        choice = choose(settings.engine, settings.precision)
        self.settings: Final = settings
        # The workers start while the engines are being built.
        self._decoders: Final = DecodePool(
            bundle.contract.preprocessing,
            Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels),
            workers=settings.decode_workers,
            timeout_s=settings.decode_timeout_s,
            memory_bytes=settings.decode_memory_bytes,
        )
        try:
            self.predictor: Final = Predictor(bundle, choice, threads=settings.threads)
            self.predictor.warm_up()
            self._decoders.wait_ready()
        except BaseException:
            self._decoders.close()
            raise
        # The one owner of the engines: first come, first served.
        self._engines: Final = ThreadPoolExecutor(1, thread_name_prefix="engines")

    def read(
        self,
        data: bytes,
        *,
        explain: Explain = "positive",
        preview_side: int = 0,
        timeout_s: float = math.inf,
    ) -> Reading:
        """Read one file.

        Args:
            data: the bytes of a DICOM, JPEG or PNG file.
            explain: the findings to make maps of.
            preview_side: longest side of the grey picture to bring along for overlays; 0 for none.
            timeout_s: time the reading may take; what waits longer is dropped.

        Raises:
            RequestError, ImageError: the file is refused; says why.
            DeadlineExceeded: the reading was not ready in time.
            NotReady: the pipeline is closed.
        """
        started = time.perf_counter()
        image = self._decoders.prepare(
            data, preview_side=preview_side, timeout_s=None if math.isinf(timeout_s) else timeout_s
        )
        prediction = self._predict(image.levels, explain, timeout_s - (time.perf_counter() - started))
        total_ms = (time.perf_counter() - started) * 1000
        return Reading(
            image=image,
            prediction=prediction,
            timing_ms={**image.timing_ms, **prediction.timing_ms, "total": total_ms},
        )

    def _predict(self, levels: Levels, explain: Explain, left_s: float) -> Prediction:
        try:
            work = self._engines.submit(self.predictor.predict, levels, explain=explain)
        except RuntimeError as error:  # shut down
            raise NotReady("the service is stopping.") from error
        try:
            return work.result(None if math.isinf(left_s) else max(0.0, left_s))
        except TimeoutError as error:
            work.cancel()  # unless it has begun, it never will
            raise DeadlineExceeded(
                "the engines did not reach this image in time (CXRSERVE_REQUEST_TIMEOUT_S). Try again later."
            ) from error
        except CancelledError as error:
            raise NotReady("the service is stopping.") from error

    def close(self) -> None:
        """End the decode workers and drop what waits for the engines. Idempotent."""
        self._decoders.close()
        self._engines.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
