"""One decode worker as the service sees it: a process, and the socket to it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from typing import Any, Final

from cxrserve.imaging import wire

# A worker holds no secrets: of the environment it gets what Python and the loader need.
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "TMPDIR")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerProcess:
    """Not thread-safe: the pool lends it to one request at a time.

    Attributes:
        sound: False from the start of a request until its whole answer is there, and for ever once the
            worker asks to be replaced. What is not sound is not used again.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable,
                    "-P",  # nothing from the working directory
                    "-m",
                    "cxrserve.imaging.worker",
                    f"--socket={theirs.fileno()}",
                    f"--config={json.dumps(config)}",
                ],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the service alone
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders quote the file they read
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD,
            )
        self.sound = True
        self._connection = ours
        self._greeted = False

    def is_ready(self) -> bool:
        """True if it has started, without waiting."""
        return self._greeted or bool(select.select((self._connection,), (), (), 0)[0])

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
            wire.receive(self._connection, most_payload_bytes=0, deadline=deadline)
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
