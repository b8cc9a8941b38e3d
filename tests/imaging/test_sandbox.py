"""A decode worker that has been taken over reaches nothing: tried by a probe in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.worker_process import WorkerProcess
from cxrserve.imaging.workers import DecodePool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

_PROBE = r"""
import json, os, resource, signal, socket, sys, threading
ours, theirs = socket.socketpair()
if sys.argv[1] == "in":
    from cxrserve.imaging import sandbox
    assert sandbox.enter() == (), sandbox.enter()
parent, secret = os.getppid(), sys.argv[2]


def start(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


tries = {
    "environment": lambda: open(f"/proc/{parent}/environ").read(),
    "memory": lambda: open(f"/proc/{parent}/mem", "r+b"),
    "archive": lambda: open(secret).read(),
    "write": lambda: open(secret + ".new", "w"),
    "delete": lambda: os.unlink(secret + ".other"),
    "passwords": lambda: open("/etc/passwd").read(),
    "network": lambda: socket.socket(socket.AF_INET),
    "unix": lambda: socket.socketpair(),
    "program": lambda: os.execv("/nonexistent", ["x"]),
    "fork": lambda: os.fork() or os._exit(0),
    "signal": lambda: os.kill(parent, 0),
    "limits": lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
    "namespace": lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else os.setpriority(0, parent, 0),
    "own thread": lambda: start(lambda: None),
    "own socket": lambda: ours.sendall(b"x"),
    "own memory": lambda: open("/proc/self/statm").read(),
    "own limits": lambda: resource.setrlimit(resource.RLIMIT_CPU, (100, resource.RLIM_INFINITY)),
    "decoder": lambda: __import__("openjpeg"),
}
reached = {}
for name, attempt in tries.items():
    try:
        attempt()
        reached[name] = "reached"
    except OSError as error:
        reached[name] = type(error).__name__
print(json.dumps(reached))
"""
_NEEDED = {"own thread", "own socket", "own memory", "own limits", "decoder"}


def _probe(where: str, secret: Path) -> dict[str, str]:
    secret.write_text("a patient's")
    Path(f"{secret}.other").write_text("another's")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE, where, str(secret)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    reached: dict[str, str] = json.loads(done.stdout)
    return reached


def test_a_probe_in_the_workers_place_gets_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "film.dcm"
    reached = _probe("in", secret)
    assert {name for name, result in reached.items() if result == "reached"} == _NEEDED
    assert all(reached[name] == "PermissionError" for name in reached.keys() - _NEEDED)
    assert not secret.with_name("film.dcm.new").exists()


def test_the_same_probe_outside_gets_at_it(tmp_path: Path) -> None:
    """The test above can fail: without the sandbox the probe reads the archive and the environment."""
    secret = tmp_path / "film.dcm"
    reached = _probe("out", secret)
    assert {"environment", "archive", "write", "network", "signal"} <= {
        name for name, result in reached.items() if result == "reached"
    }


def test_every_worker_is_closed_in() -> None:
    with DecodePool(
        Preprocessing(profile="mimic-cxr-jpg", sizes=(256,)),
        Limits(),
        workers=2,
        timeout_s=20,
        memory_bytes=2**31,
    ) as pool:
        pool.wait_ready()
        workers: list[WorkerProcess] = pool._idle
        for worker in workers:
            assert worker.unprotected == ()
            status = Path(f"/proc/{worker.process.pid}/status").read_text()
            assert "NoNewPrivs:\t1\n" in status
            assert "Seccomp:\t2\n" in status


def test_what_is_missing_is_reported() -> None:
    """An old kernel or a container's profile refuses one part: it is named, and the others hold."""
    script = (
        "import os; from cxrserve.imaging import sandbox\n"
        "def refused(): raise OSError(38, os.strerror(38))\n"
        "refused.__name__ = '_landlock'; sandbox._landlock = refused\n"
        "print(sandbox.enter()); print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "('landlock: Function not implemented',)" in done.stdout
    assert "Seccomp:\t2" in done.stdout
