"""A decode worker: `python -m cxrserve.imaging.worker`, started by `workers.DecodePool`.

It does one job after another (`jobs.py`), with a limit on its memory and on its CPU time, in a sandbox
(`sandbox.py`), and ends when the service does. What it may break is itself.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import socket
from typing import Any, Final

import cv2
from PIL import Image

from cxrserve.errors import CxrserveError, DecoderFailed
from cxrserve.imaging import ipc as wire
from cxrserve.imaging import sandbox
from cxrserve.imaging.jobs import JOBS, Answer, Setup
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing

_CPU_GRACE_S: Final = 2  # beyond the deadline: the service's own clock is to strike first
_MAX_INPUT_BYTES: Final = 2**40  # the service has already counted the upload


def main() -> None:
    """Answer requests on the socket that was inherited, until it is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--config", type=json.loads, required=True)
    arguments = parser.parse_args()
    config = arguments.config
    # Ctrl-C and a supervisor's SIGTERM reach the whole group; the service first finishes what it has taken,
    # and the workers end when it closes their sockets.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    setup = Setup(preprocessing=Preprocessing(**config["preprocessing"]), limits=Limits(**config["limits"]))
    cv2.setNumThreads(1)
    # The limits are ours (`limits.py`); Pillow's own warns about radiographs that a detector does make.
    Image.MAX_IMAGE_PIXELS = None
    baseline = _limit_memory(config["memory_bytes"])
    with socket.socket(fileno=arguments.socket) as connection:
        wire.send(connection, {"ready": True, "unprotected": sandbox.enter()})
        _serve(connection, setup, config, retire_above=baseline + config["memory_bytes"] // 2)


def _serve(connection: socket.socket, setup: Setup, config: dict[str, Any], *, retire_above: int) -> None:
    while True:
        try:
            request, data = wire.receive(connection, most_payload_bytes=_MAX_INPUT_BYTES)
        except wire.WireClosedError:
            return
        _limit_cpu(request["timeout_s"])
        try:
            answer = JOBS[request["job"]](bytes(data), request, setup)
        except MemoryError:
            detail = f"decoding needed more memory than {config['memory_bytes']} bytes. Send a smaller image."
            # A fresh worker has more left than one that has decoded for long, so it may yet succeed.
            _refuse(connection, DecoderFailed(detail), retire=True)
        except CxrserveError as error:
            _refuse(connection, error, retire=_address_space() > retire_above)
        else:
            _answer(connection, answer, retire=_address_space() > retire_above)
            del answer
        del data


def _refuse(connection: socket.socket, error: CxrserveError, *, retire: bool) -> None:
    wire.send(connection, {"error": type(error).__name__, "detail": error.detail, "retire": retire})


def _answer(connection: socket.socket, answer: Answer, *, retire: bool) -> None:
    wire.send(connection, {**answer.header, "retire": retire}, *answer.payload)


def _limit_memory(memory_bytes: int) -> int:
    """Allow `memory_bytes` beyond what is mapped now, and no core file: it would hold a patient's image."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    baseline = _address_space()
    if baseline:
        resource.setrlimit(resource.RLIMIT_AS, (baseline + memory_bytes, baseline + memory_bytes))
    return baseline


def _limit_cpu(timeout_s: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + timeout_s) + _CPU_GRACE_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Bytes mapped by this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    main()
