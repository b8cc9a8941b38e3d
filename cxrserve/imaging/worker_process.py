"""One decode worker as the service sees it: a process, and the socket to it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from typing import Any, Final

from cxrserve.imaging import ipc as wire

# A worker holds no secrets: of the environment it gets what Python and the loader need.
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "TMPDIR")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerProcess:
    """Not thread-safe: the pool lends it to one request at a time.

    Attributes:
        sound: False from the start of a request until its whole answer is there, and for ever once the
            worker asks to be replaced. What is not sound is not used again.
        unprotected: parts of the sandbox that this machine lacks, each as a short reason.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """Start it, without waiting.

        Raises:
            OSError: the machine has no room for a process.
        """
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = _start(theirs.fileno(), config)
            except OSError:
                self._connection.close()
                raise
        self.sound = True
        self.unprotected: tuple[str, ...] = ()
        self._greeted = False

    def is_ready(self) -> bool:
        """True if it has started, without waiting."""
        if not self._greeted:
            poll = select.poll()  # not select(): a busy service has descriptors beyond 1024
            poll.register(self._connection, select.POLLIN)
            return bool(poll.poll(0))
        return True

    def has_died_idle(self) -> bool:
        """True if it had started and is gone, with no request to blame."""
        return self._greeted and self.process.poll() is not None

    def wait_ready(self, deadline: float) -> None:
        """Wait until it has started; `deadline` is on the clock of `time.monotonic`.

        Raises:
            TimeoutError: it has not.
            wire.WireError: it died.
        """
        if not self._greeted:
            greeting, _ = wire.receive(self._connection, most_payload_bytes=0, deadline=deadline)
            self.unprotected = tuple(map(str, greeting.get("unprotected", ())))
            self._greeted = True

    def ask(
        self, request: dict[str, Any], data: Any, *, most_answer_bytes: int, deadline: float
    ) -> tuple[dict[str, Any], bytearray]:
        """Send one request and wait for its answer: a header and a payload, neither of them checked.

        Raises:
            TimeoutError: there was none in time.
            wire.WireError: the worker died, or sent something that is no message.
        """
        self.sound = False
        wire.send(self._connection, request, data, deadline=deadline)
        header, payload = wire.receive(
            self._connection, most_payload_bytes=most_answer_bytes, deadline=deadline
        )
        self.sound = header.get("retire") is False
        return header, payload

    def kill(self) -> None:
        """End the process, whatever it does, and collect it. May be called again."""
        self.process.kill()
        self.process.wait()
        self._connection.close()


def _start(descriptor: int, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    arguments = (f"--socket={descriptor}", f"--config={json.dumps(config)}")
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        # -P: nothing from the working directory.
        (sys.executable, "-P", "-m", "cxrserve.imaging.worker", *arguments),
        pass_fds=(descriptor,),
        start_new_session=True,  # Ctrl-C is for the service alone
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # decoders quote the file they read
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD,
    )
