"""Bytes in, a reading out: decode pool and predictor, as the service and the command line use them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from cxrserve.engines.select import choose
from cxrserve.ensemble.bundle import load_bundle
from cxrserve.ensemble.predictor import Explain, Prediction, Predictor
from cxrserve.errors import DeadlineExceeded, Overloaded
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
        except BaseException:
            self._decoders.close()
            raise
        self._engines_free: Final = threading.Lock()
        self._entry: Final = threading.Lock()
        self._inside = 0

    def read(
        self,
        data: bytes,
        *,
        explain: Explain = "positive",
        preview_side: int = 0,
        timeout_s: float | None = None,
    ) -> Reading:
        """Read one file.

        Args:
            data: the bytes of a DICOM, JPEG or PNG file.
            explain: the findings to make maps of.
            preview_side: longest side of the grey picture to bring along for overlays; 0 for none.
            timeout_s: time the answer may take; by default the settings' `request_timeout_s`.

        Raises:
            RequestError, ImageError: the file is refused; says why.
            Overloaded: as many requests wait as the settings allow.
            DeadlineExceeded: the answer was not ready in time.
        """
        started = time.perf_counter()
        deadline = started + (self.settings.request_timeout_s if timeout_s is None else timeout_s)
        with self._admitted():
            image = self._decoders.prepare(
                data, preview_side=preview_side, timeout_s=deadline - time.perf_counter()
            )
            with self._engines_until(deadline):
                prediction = self.predictor.predict(image.levels, explain=explain)
        total_ms = (time.perf_counter() - started) * 1000
        return Reading(
            image=image,
            prediction=prediction,
            timing_ms={**image.timing_ms, **prediction.timing_ms, "total": total_ms},
        )

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        most = self.settings.max_waiting + 1
        with self._entry:
            if self._inside >= most:
                raise Overloaded(
                    f"{self._inside} requests are in work, the most this service takes. Try again later.",
                    retry_after_s=2,
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._entry:
                self._inside -= 1

    @contextmanager
    def _engines_until(self, deadline: float) -> Iterator[None]:
        if not self._engines_free.acquire(timeout=max(0.0, deadline - time.perf_counter())):
            raise DeadlineExceeded(
                "the engines were not free in time (CXRSERVE_REQUEST_TIMEOUT_S). Try again later."
            )
        try:
            yield
        finally:
            self._engines_free.release()

    def close(self) -> None:
        """End the decode workers. Idempotent."""
        self._decoders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
