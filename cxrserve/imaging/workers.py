"""The pool of decode workers: what a hostile file may break is one process, and one request.

Declared sizes are checked before decoding, but decoders have bugs. So each image is decoded in a process of
its own with a memory limit and a deadline; a worker that dies is replaced at once.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self

from cxrserve.errors import Busy, ConfigurationError, DeadlineExceeded, DecoderFailed, Stopping
from cxrserve.imaging import ipc as wire
from cxrserve.imaging.correction import NO_CORRECTION, Correction
from cxrserve.imaging.display_header import DisplayedImage, most_display_bytes
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.worker_process import WorkerProcess
from cxrserve.imaging.worker_response import (
    MAX_HEADER_BYTES,
    most_answer_bytes,
    read_answer,
    read_display_answer,
    read_header_answer,
)

_START_TIMEOUT_S: Final = 30.0
_log: Final = logging.getLogger(__name__)


class DecodePool:
    """Decoding in `workers` processes. Thread-safe, blocking, a context manager.

    Args:
        preprocessing: the bundle's.
        limits: on what a file may declare.
        workers: number of processes, which is the number of images decoded at once.
        timeout_s: most time a worker has for one image.
        memory_bytes: most memory a worker may take beyond what it holds when idle.
        on_replaced: called for each worker that died, was ended or retired.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        limits: Limits,
        *,
        workers: int,
        timeout_s: float,
        memory_bytes: int,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self._preprocessing = preprocessing
        self._most_display_bytes = most_display_bytes(limits.max_pixels)
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._on_replaced = on_replaced
        self._config = {
            "preprocessing": preprocessing.model_dump(),
            "limits": asdict(limits),
            "memory_bytes": memory_bytes,
        }
        self._changed = threading.Condition()
        self._closed = False
        self._idle = [WorkerProcess(self._config) for _ in range(workers)]  # they start side by side
        self._lent: list[WorkerProcess] = []
        self._missing = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until every worker has started. Not needed before `prepare`; for readiness and benchmarks.

        Raises:
            ConfigurationError: one did not.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            for worker in self._idle:
                try:
                    worker.wait_ready(deadline)
                except (TimeoutError, wire.WireError) as exc:
                    raise ConfigurationError(
                        f"a decode worker did not start within {timeout_s:g} s "
                        f"(exit code {worker.process.poll()}). Run `{sys.executable} -m "
                        "cxrserve.imaging.worker --help` to see why."
                    ) from exc
        if missing := sorted({reason for worker in self._idle for reason in worker.unprotected}):
            _log.warning(
                "decode workers run without a part of their sandbox (%s): a file that takes over a decoder "
                "could do what this user may do. Use a kernel with Landlock and seccomp.",
                "; ".join(missing),
            )

    def prepare(
        self,
        data: bytes | bytearray | memoryview,
        *,
        preview_side: int = 0,
        correction: Correction = NO_CORRECTION,
        timeout_s: float | None = None,
    ) -> PreparedImage:
        """As `prepare.prepare`, in a worker.

        `timeout_s` is the caller's own limit, which waiting for a free worker counts against.

        Raises:
            RequestError, UnsupportedFormat, TooLarge, ImageError: the file is refused.
            UnreadableImage: also if its worker died, or took longer than the pool allows.
            DeadlineExceeded: `timeout_s` passed.
            Busy: no worker can be started.
            Stopping: the pool is closed.
        """
        header, payload = self._ask(
            {"job": "prepare", "preview_side": preview_side, "correction": asdict(correction)},
            data,
            most_answer_bytes(self._preprocessing, preview_side),
            timeout_s,
        )
        return read_answer(header, payload, self._preprocessing, preview_side, correction)

    def header(self, data: bytes | bytearray | memoryview, *, timeout_s: float | None = None) -> bytes:
        """As `dicom.source_header.source_header`, in a worker: the small header that results need.

        Raises:
            As `prepare`; UnreadableImage where the file is no DICOM, or a UID is missing.
        """
        return read_header_answer(*self._ask({"job": "header"}, data, MAX_HEADER_BYTES, timeout_s))

    def display(
        self, data: bytes | bytearray | memoryview, *, timeout_s: float | None = None
    ) -> DisplayedImage:
        """As `display.display`, in a worker: the stored values, and how the file wants them shown.

        Raises:
            As `prepare`.
        """
        return read_display_answer(*self._ask({"job": "display"}, data, self._most_display_bytes, timeout_s))

    def _ask(
        self,
        request: dict[str, Any],
        data: bytes | bytearray | memoryview,
        max_bytes: int,
        timeout_s: float | None,
    ) -> tuple[dict[str, Any], bytearray]:
        """One job in a worker, for the time both the caller and the pool allow; the answer is not checked."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self._borrowed(deadline) as worker:
            allowed = time.monotonic() + self._timeout_s
            try:
                return worker.ask(
                    {**request, "timeout_s": self._timeout_s},
                    data,
                    most_answer_bytes=max_bytes,
                    deadline=min(deadline, allowed),
                )
            except TimeoutError as exc:
                raise (_too_late() if deadline < allowed else self._too_slow()) from exc
            except wire.WireError as exc:
                raise Stopping("the service is stopping.") if self._closed else self._broke_down() from exc

    def close(self) -> None:
        """End all workers; requests under way end with Stopping. May be called again."""
        with self._changed:
            self._closed = True
            idle, lent, self._idle = self._idle, list(self._lent), []
            self._changed.notify_all()
        for worker in idle:
            worker.kill()
        for worker in lent:  # their borrowers hold the sockets, and close them
            worker.process.kill()
            worker.process.wait()

    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        with self._changed:
            return tuple(worker.process.pid for worker in (*self._idle, *self._lent))

    @contextmanager
    def _borrowed(self, deadline: float) -> Iterator[WorkerProcess]:
        worker = self._take(deadline)
        while worker.has_died_idle():  # so of nothing in this image: ours to mend
            worker.sound = False
            self._give_back(worker)
            worker = self._take(deadline)
        try:
            self._greet(worker, deadline)
            yield worker
        finally:
            self._give_back(worker)

    def _take(self, deadline: float) -> WorkerProcess:
        """An idle worker, one that has started where there is one."""
        with self._changed:
            while not self._closed:
                self._replace_missing()
                if self._idle:
                    worker = next((idle for idle in self._idle if idle.is_ready()), self._idle[0])
                    self._idle.remove(worker)
                    self._lent.append(worker)
                    return worker
                if not self._lent:
                    raise Busy("no decode worker can be started: the machine is out of processes or memory.")
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise _too_late()
                self._changed.wait(None if math.isinf(left_s) else left_s)
        raise Stopping("the service is stopping.")

    def _greet(self, worker: WorkerProcess, deadline: float) -> None:
        latest = time.monotonic() + _START_TIMEOUT_S
        try:
            worker.wait_ready(min(deadline, latest))
        except TimeoutError as exc:
            worker.sound = deadline < latest  # it may yet start, for the next request
            raise (_too_late() if worker.sound else Busy("a decode worker did not start.")) from exc
        except wire.WireError as exc:
            worker.sound = False
            raise Busy("a decode worker could not be started.") from exc

    def _give_back(self, worker: WorkerProcess) -> None:
        """Back among the idle; one that is not sound is ended and replaced."""
        with self._changed:
            self._lent.remove(worker)
            if worker.sound and not self._closed:
                self._idle.append(worker)
                self._changed.notify()
                return
        worker.kill()
        with self._changed:
            if not self._closed:
                self._missing += 1
                self._on_replaced()
                self._replace_missing()
                self._changed.notify()

    def _replace_missing(self) -> None:
        """Start what is missing; where the machine has no room for it, the next request tries again."""
        while self._missing:
            try:
                self._idle.append(WorkerProcess(self._config))
            except OSError:
                return
            self._missing -= 1

    def _too_slow(self) -> DecoderFailed:
        return DecoderFailed(
            f"decoding took longer than {self._timeout_s:g} s (CXRSERVE_DECODE_TIMEOUT_S) and was ended. "
            "Send the image uncompressed."
        )

    def _broke_down(self) -> DecoderFailed:
        return DecoderFailed(
            "the decoder broke down: the file is damaged, or it needs more memory than "
            f"{self._memory_bytes} bytes (CXRSERVE_DECODE_MEMORY_BYTES). Send the image uncompressed."
        )


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("decoding was not finished in time; the image was dropped. Send it again later.")
