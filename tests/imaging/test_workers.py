"""The pool: what a file breaks is its own request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrserve.errors import (
    Busy,
    ConfigurationError,
    CxrserveError,
    DeadlineExceeded,
    DecoderFailed,
    ImageError,
    RequestError,
    Stopping,
    TooLarge,
    UnreadableImage,
)
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from tests.imaging import bombs, makers
from tests.waiting import until

PREPROCESSING = Preprocessing(profile="mimic-cxr-jpg", sizes=(64, 128))
GOOD = makers.dicom(makers.radiograph())
MIB = 2**20


def pool(**options: Any) -> DecodePool:
    limits = options.pop("limits", Limits())
    return DecodePool(
        PREPROCESSING, limits, **{"workers": 1, "timeout_s": 10.0, "memory_bytes": 512 * MIB} | options
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[DecodePool]:
    with pool(workers=2) as decoders:
        decoders.wait_ready()
        yield decoders


def answers(decoders: DecodePool) -> bool:
    return decoders.prepare(GOOD).about.rows == 120


def test_a_worker_prepares_as_prepare_does(shared: DecodePool) -> None:
    for data in (GOOD, makers.jpeg(makers.radiograph(bits=8)), makers.png(makers.radiograph(bits=16))):
        here, there = (
            prepare(data, PREPROCESSING, Limits(), preview_side=70),
            shared.prepare(data, preview_side=70),
        )
        assert here.about == there.about
        assert (here.applied, here.warnings) == (there.applied, there.warnings)
        assert all(np.array_equal(here.levels[size], there.levels[size]) for size in (64, 128))
        assert here.preview_HW is not None
        assert there.preview_HW is not None
        assert np.array_equal(here.preview_HW, there.preview_HW)
        assert set(there.timing_ms) == {"decode", "pyramid"}
    assert shared.prepare(memoryview(GOOD)).preview_HW is None


def test_refusals_come_back_as_they_are(shared: DecodePool) -> None:
    pids = shared.worker_pids()
    for data in (b"", b"GIF89a", GOOD[:300], makers.dicom(makers.radiograph(), Modality="CT")):
        with pytest.raises(CxrserveError) as here:
            prepare(data, PREPROCESSING, Limits())
        with pytest.raises(CxrserveError) as there:
            shared.prepare(data)
        assert type(here.value) is type(there.value)
        assert here.value.detail == there.value.detail
    assert set(shared.worker_pids()) == set(pids)


@pytest.mark.parametrize("name", bombs.REFUSED)
def test_bombs_are_refused_in_little_time_and_memory(shared: DecodePool, name: str) -> None:
    data = bombs.REFUSED[name]()
    shared.wait_ready()  # the test before may have cost a worker
    pids = shared.worker_pids()
    before = {pid: restart_peak_memory(pid) for pid in pids}
    started = time.monotonic()
    with pytest.raises((ImageError, TooLarge)):
        shared.prepare(data)
    assert time.monotonic() - started < 8  # a busy machine
    survivors = set(shared.worker_pids()) & set(pids)
    # Data may unfold to 256 MiB by our own limit; a worker that has held them is replaced.
    assert len(survivors) == len(pids) - (name == "deflated 400 MB")
    assert all(memory(pid, "VmHWM") - before[pid] < 200 * MIB for pid in survivors)
    assert answers(shared)


def test_many_elements_are_read(shared: DecodePool) -> None:
    assert shared.prepare(bombs.many_elements()).about.rows == 120


def test_memory_beyond_the_limit_costs_one_request() -> None:
    """A sound image of 64 million pixels, where 100 MiB are allowed."""
    with pool(memory_bytes=100 * MIB) as decoders:
        with pytest.raises(DecoderFailed, match="memory"):
            decoders.prepare(bombs.png(8000))
        assert answers(decoders)


def test_time_beyond_the_limit_costs_one_request() -> None:
    with pool(timeout_s=1.0) as decoders:
        decoders.wait_ready()
        assert answers(decoders)
        (pid,) = decoders.worker_pids()
        started = time.monotonic()
        with pytest.raises(UnreadableImage, match="1 s"):
            decoders.prepare(bombs.jpeg_scans())
        assert time.monotonic() - started < 4
        assert decoders.worker_pids() != (pid,)
        assert not is_alive(pid)
        assert answers(decoders)


def test_the_callers_deadline_is_his_own() -> None:
    with pool(timeout_s=20) as decoders:
        decoders.wait_ready()
        with pytest.raises(DeadlineExceeded):
            decoders.prepare(bombs.jpeg_scans(), timeout_s=0.3)
        assert answers(decoders)


def test_waiting_counts_against_the_deadline() -> None:
    with pool(timeout_s=20) as decoders, ThreadPoolExecutor(1) as threads:
        decoders.wait_ready()
        (pid,) = decoders.worker_pids()
        slow = threads.submit(decoders.prepare, bombs.jpeg_scans(), timeout_s=1.0)
        wait_until_at_work(pid)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            decoders.prepare(GOOD, timeout_s=0.2)
        assert time.monotonic() - started < 0.9  # the other one ends at 1.0
        with pytest.raises(DeadlineExceeded):
            slow.result()
        assert answers(decoders)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_a_worker_that_dies_at_work_costs_one_request(kind: signal.Signals) -> None:
    with pool() as decoders, ThreadPoolExecutor(1) as threads:
        decoders.wait_ready()
        (pid,) = decoders.worker_pids()
        slow = threads.submit(decoders.prepare, bombs.jpeg_scans())
        wait_until_at_work(pid)
        os.kill(pid, kind)
        with pytest.raises(UnreadableImage, match="broke down"):
            slow.result()
        assert answers(decoders)
        assert not is_alive(pid)


def test_a_worker_that_dies_idle_costs_nothing() -> None:
    with pool(workers=2) as decoders:
        decoders.wait_ready()
        for pid in decoders.worker_pids():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(is_alive, decoders.worker_pids())))
        assert answers(decoders)
        assert answers(decoders)


def test_signals_for_the_service_do_not_end_its_workers(shared: DecodePool) -> None:
    """Ctrl-C and a supervisor's SIGTERM reach the whole group, and accepted requests are to be finished."""
    pids = shared.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert answers(shared)
    assert set(shared.worker_pids()) == set(pids)
    assert all(os.getsid(pid) == pid for pid in pids)


def test_threads_share_the_pool(shared: DecodePool) -> None:
    files = [GOOD, GOOD[:300], makers.jpeg(makers.radiograph(bits=8))] * 10

    def rows(data: bytes) -> int:
        try:
            return shared.prepare(data).about.rows
        except UnreadableImage:
            return -1

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(rows, files)) == [120, -1, 120] * 10


def test_close_ends_everything_and_may_be_repeated() -> None:
    decoders = pool(workers=2)
    decoders.wait_ready()
    pids = decoders.worker_pids()
    ended: list[BaseException] = []

    def work() -> None:
        try:
            decoders.prepare(bombs.jpeg_scans())
        except CxrserveError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until_at_work(*pids)
    decoders.close()
    decoders.close()
    thread.join(5)
    assert [type(error) for error in ended] == [Stopping]
    assert not any(map(is_alive, pids))
    with pytest.raises(Stopping):
        decoders.prepare(GOOD)


def test_workers_die_with_the_service() -> None:
    script = (
        "import sys, os, signal\n"
        "from cxrserve.imaging.workers import DecodePool\n"
        "from cxrserve.imaging.limits import Limits\n"
        "from cxrserve.imaging.pyramid import Preprocessing\n"
        "pool = DecodePool(Preprocessing(profile='linear', sizes=(64,)), Limits(), workers=2, timeout_s=9, "
        "memory_bytes=2**28)\n"
        "pool.wait_ready()\n"
        "print(*pool.worker_pids(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until(lambda: not any(map(is_alive, pids)))


def test_workers_see_no_secrets_and_leave_no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSERVE_TOKEN", "secret-of-the-service")
    with pool() as decoders:
        decoders.wait_ready()
        (pid,) = decoders.worker_pids()
        assert b"secret-of-the-service" not in Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max core file size        0 " in limits
        assert "Max address space         unlimited" not in limits


def test_the_pool_itself_loads_no_decoder() -> None:
    """A process that only sends files to workers stays small; the service loads pydicom for its reports."""
    script = (
        "import sys, cxrserve.imaging.workers\n"
        "print(*({'pydicom', 'gdcm', 'PIL', 'openjpeg'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.returncode) == ("", 0)


def test_a_pool_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pool() as decoders:
        with pytest.raises(Busy, match="decode worker"):
            decoders.prepare(GOOD, timeout_s=5)
        with pytest.raises(ConfigurationError, match="worker"):
            decoders.wait_ready(5)


def test_a_machine_without_room_for_a_process_is_busy_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot be replaced now is replaced when there is room again."""
    with pool() as decoders:
        decoders.wait_ready()
        with monkeypatch.context() as no_room:
            no_room.setattr(sys, "executable", "/nonexistent/python")  # Popen raises OSError
            (pid,) = decoders.worker_pids()
            os.kill(pid, signal.SIGKILL)
            until(lambda: not is_alive(pid))
            for _ in range(2):
                with pytest.raises(Busy, match="no decode worker"):
                    decoders.prepare(GOOD)
        assert answers(decoders)


def test_workers_never_hold_more_than_they_may() -> None:
    """A worker whose memory has grown is replaced between requests."""
    with pool(memory_bytes=260 * MIB) as decoders:
        for _ in range(6):
            with pytest.raises((ImageError, RequestError)):
                decoders.prepare(bombs.png(8000))
            assert answers(decoders)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_at_work(*pids: int) -> None:
    """Until one of these idle workers computes: it has its file then."""
    before = {pid: cpu_ticks(pid) for pid in pids}
    until(lambda: any(cpu_ticks(pid) > before[pid] for pid in pids))


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def memory(pid: int, name: str) -> int:
    """Bytes of a process: "VmRSS" now, "VmHWM" at most since its peak was restarted."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def restart_peak_memory(pid: int) -> int:
    """Forget the peak so far; the memory in use now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")
