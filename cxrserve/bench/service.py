"""A service in a process of its own: started, watched, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cxrserve.errors import ConfigurationError

_PATIENCE_S: Final = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A service that answers.

    Attributes:
        ready_s: from its start until it was ready to work.
        pid: of its first process.
    """

    url: str
    ready_s: float
    pid: int


@contextlib.contextmanager
def started(command: Sequence[str], *, port: int, ready: str, body: bytes | None = None) -> Iterator[Started]:
    """Run `command` while the block lasts; the block begins once `ready` answers 200.

    Args:
        ready: path that tells when the service is ready.
        body: POSTed to that path; a GET where there is none.

    Raises:
        ConfigurationError: it ended, or was not ready in time.
    """
    url = f"http://127.0.0.1:{port}"
    start_s = time.perf_counter()
    # A file, not a pipe: nobody reads along, and a full pipe would stop the service. A session of its own:
    # what it starts ends with it.
    with (
        tempfile.TemporaryFile() as stderr_file,
        subprocess.Popen(  # noqa: S603 (ours)
            command, stdout=subprocess.DEVNULL, stderr=stderr_file, start_new_session=True
        ) as process,
    ):
        try:
            while not _answers(url + ready, body):
                if process.poll() is not None or time.perf_counter() - start_s > _PATIENCE_S:
                    raise ConfigurationError(
                        f"{' '.join(command[:4])} did not become ready{_reason(process, stderr_file)}"
                    )
                time.sleep(0.02)
            yield Started(url=url, ready_s=time.perf_counter() - start_s, pid=process.pid)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def cxrserve(bundle: Path, port: int, *options: str) -> list[str]:
    """The command that serves `bundle` on `port`."""
    return [sys.executable, "-m", "cxrserve", "serve", "--bundle", str(bundle), "--port", str(port), *options]


def free_port() -> int:
    """A TCP port of the loopback on which nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str, body: bytes | None) -> bool:
    # Without a type of its own a body counts as a form, and is parsed as one.
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 (http, of this machine)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _reason(process: subprocess.Popen[bytes], stderr_file: IO[bytes]) -> str:
    if process.poll() is None:
        return " in time"
    stderr_file.seek(0)
    return f": {stderr_file.read().decode(errors='replace').strip()[-500:]}"


def resident_mib(pid: int) -> float:
    """Resident memory of a process and all its descendants, added up; shared pages count for each. Linux."""
    kib = _resident_kib(pid)
    return kib / 2**10 + sum(resident_mib(child) for child in _children(pid))


def _resident_kib(pid: int) -> int:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(row.split()[1]) for row in lines if row.startswith("VmRSS"))
    return 0


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return children
