"""Times of a second peer while one peer takes all that it can get of a station.

    python -m tests.benchmarks.one_peer --seconds 60

The station runs as a process of its own with the demo bundle and the settings that it has by itself. From
127.0.0.2 come 1,000 idle HTTP connections, 100 uploads of a byte each second, and 64 associations of which
each begins an object and sends on slowly; what the station closes or rejects is opened again at once. From
127.0.0.3 a second peer asks in turn: C-ECHO, C-STORE, `GET /readyz` and `POST /predict`, first without the
other peer and then beside it. Prints one JSON object: seconds by kind (median, p95, worst), failures, and the
most memory of the station's processes together.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from pydicom import dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from tests import radiographs
from tests.api import raw
from tests.pacs import upper_layer as ul
from tests.stations import Station, station

GREEDY, SECOND = "127.0.0.2", "127.0.0.3"
IDLE, UPLOADS, ASSOCIATIONS = 1000, 100, 64
_VERIFICATION = "1.2.840.10008.1.1"
_RULES = {"quiet_time_s": 1, "rules": [{"name": "all", "match": {}}]}


class GreedyPeer:
    """One peer that holds connections of three kinds, and opens each again that is closed."""

    def __init__(self, http_port: int, dicom_port: int) -> None:
        self._http_port, self._dicom_port = http_port, dicom_port
        self._ended = threading.Event()
        self.opened = dict.fromkeys(("idle", "upload", "association"), 0)
        self._threads = [
            threading.Thread(target=self._hold, args=(name, count, first, more), daemon=True)
            for name, count, first, more in (
                ("idle", IDLE, b"", b""),
                ("upload", UPLOADS, raw.head("Content-Length: 1000000", path="/predict"), b"x"),
                ("association", ASSOCIATIONS, ul.associate_rq(ul.USUAL), self._object()),
            )
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _object() -> bytes:
        start = ul.store_rq(DigitalXRayImageStorageForPresentation, generate_uid())
        return ul.p_data(3, 0b11, start) + ul.p_data(3, 0b00, os.urandom(100))

    def _hold(self, name: str, count: int, first: bytes, more: bytes) -> None:
        port = self._dicom_port if name == "association" else self._http_port
        held: list[socket.socket] = []
        while not self._ended.is_set():
            held = [each for each in held if _is_open(each, more)]
            while len(held) < count and not self._ended.is_set():
                try:
                    peer = socket.create_connection(("127.0.0.1", port), 2, (GREEDY, 0))
                    peer.sendall(first)
                except OSError:
                    break
                held.append(peer)
                self.opened[name] += 1
            self._ended.wait(1)
        for peer in held:
            peer.close()

    def stop(self) -> None:
        """Close everything."""
        self._ended.set()
        for thread in self._threads:
            thread.join(30)


@contextmanager
def greedy_process(running: Station) -> Iterator[None]:
    """A greedy peer in a process of its own: pynetdicom cannot wait on a descriptor beyond 1,023."""
    ports = [str(urlsplit(running.url).port), str(running.dicom_port)]
    command = [sys.executable, "-m", "tests.benchmarks.one_peer", "--greedy", *ports]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate()  # its end of the pipe closes: it stops


def be_greedy(http_port: int, dicom_port: int) -> None:
    """Hold connections until standard input ends, and print how many were opened."""
    peer = GreedyPeer(http_port, dicom_port)
    sys.stdin.read()
    peer.stop()
    sys.stderr.write(f"connections opened: {json.dumps(peer.opened)}\n")


def _is_open(peer: socket.socket, more: bytes) -> bool:
    """Whether the station has left it open; a little is sent on it."""
    try:
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if not peer.recv(65536):
                peer.close()
                return False
        peer.send(more)
    except OSError:
        peer.close()
        return False
    return True


class SecondPeer:
    """An ordinary peer; each method is one exchange and raises where it fails."""

    def __init__(self, running: Station, film: bytes) -> None:
        self._dicom_port, self._film = running.dicom_port, film
        self._dataset = dcmread(io.BytesIO(film))
        transport = httpx.HTTPTransport(local_address=SECOND)
        self._client = httpx.Client(base_url=running.url, transport=transport, timeout=60)

    def _associated(self, sop_class: str, send: Callable[[object], int]) -> None:
        entity = AE(ae_title="SECOND")
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        association = entity.associate(
            "127.0.0.1", self._dicom_port, ae_title="CXRSERVE", bind_address=(SECOND, 0)
        )
        if not association.is_established:
            raise ConnectionError("no association")
        try:
            status = send(association)
        finally:
            association.release()
        if status != 0:
            raise ConnectionError(f"status {status:04X}")

    def echo(self) -> None:
        """Verify the station."""
        self._associated(_VERIFICATION, lambda association: association.send_c_echo().Status)  # type: ignore[attr-defined]

    def store(self) -> None:
        """Store one new image."""
        self._dataset.SOPInstanceUID = self._dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        self._dataset.StudyInstanceUID = generate_uid()
        self._associated(
            str(self._dataset.SOPClassUID),
            lambda association: association.send_c_store(self._dataset).Status,  # type: ignore[attr-defined]
        )

    def ready(self) -> None:
        """Ask whether it is ready."""
        self._client.get("/readyz").raise_for_status()

    def predict(self) -> None:
        """Have one image judged."""
        self._client.post("/predict?heatmaps=none", content=self._film).raise_for_status()


def times(peer: SecondPeer, seconds: float) -> dict[str, dict[str, object]]:
    """Exchanges of all kinds in turn while `seconds` last."""
    kinds = {"echo": peer.echo, "store": peer.store, "readyz": peer.ready, "predict": peer.predict}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    failures: dict[str, list[str]] = {name: [] for name in kinds}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, exchange in kinds.items():
            started = time.perf_counter()
            try:
                exchange()
            except (ConnectionError, httpx.HTTPError) as error:
                failures[name].append(str(error)[:80])
            taken[name].append(time.perf_counter() - started)
        time.sleep(0.1)
    return {
        name: {
            "count": len(each),
            "median_s": round(statistics.median(each), 3),
            "p95_s": round(statistics.quantiles(each, n=20)[-1], 3),
            "worst_s": round(max(each), 3),
            "failures": len(failures[name]),
            "first_failure": next(iter(failures[name]), None),
        }
        for name, each in taken.items()
    }


@contextmanager
def peak_memory(pid: int) -> Iterator[list[int]]:
    """The most resident bytes of a process and its children together, looked at four times a second."""
    peak, ended = [0], threading.Event()

    def look() -> None:
        process = psutil.Process(pid)
        while not ended.wait(0.25):
            total = 0
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += each.memory_info().rss
            peak[0] = max(peak[0], total)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument(
        "--greedy", type=int, nargs=2, metavar=("HTTP_PORT", "DICOM_PORT"), help="used inside"
    )
    options = parser.parse_args()
    if options.greedy:
        be_greedy(*options.greedy)
    else:
        measure(options.bundle, options.seconds)


def measure(bundle: Path, seconds: float) -> None:
    """Ask a station without and beside a greedy peer, and print the times."""
    film = radiographs.dicom(1024, 1024)
    with (
        tempfile.TemporaryDirectory() as folder,
        station(bundle, Path(folder) / "archive", _RULES) as running,
        peak_memory(running.process.pid) as peak,
    ):
        second = SecondPeer(running, film)
        second.predict()
        alone = times(second, seconds)
        with greedy_process(running):
            time.sleep(5)
            beside = times(second, seconds)
        figures = {
            "alone": alone,
            "beside_the_other_peer": beside,
            "peak_mib": peak[0] >> 20,
            "load": os.getloadavg()[0],
        }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
