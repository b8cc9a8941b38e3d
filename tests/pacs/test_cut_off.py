"""The line to a destination is cut, or nothing comes back: results are sent again, and arrive once."""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from pydicom import dcmread

from tests import dcmtk
from tests.orthanc import Orthanc, free_port, orthanc
from tests.pacs.conftest import new_chest
from tests.stations import Station, station

_BLOCK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the end comes as a reset, as from a host that is gone
_NEVER = 2**40
# What is cut off, and where: in the overlay, which is the first and largest of the results; before the answer
# to it, where the association's is the first block that comes back; nowhere, but nothing comes through.
FAULTS: dict[str, tuple[str, dict[str, int]]] = {
    "in the middle of C-STORE": ("dimse", {"there": 300_000}),
    "before the answer to C-STORE": ("dimse", {"back": 1}),
    "silence to C-STORE": ("dimse", {"passes": 0}),
    "in the middle of STOW-RS": ("stow", {"there": 300_000}),
    "before the answer to STOW-RS": ("stow", {"back": 0}),
    "silence to STOW-RS": ("stow", {"passes": 0}),
}


class Line:
    """A TCP line to `port` that fails once, and works from then on; a context manager.

    Args:
        there: bytes that pass before it is cut.
        back: blocks of answers that pass before it is cut.
        passes: 0 where nothing passes, and it is not cut.

    Attributes:
        port: where it begins.
        failed: connections that failed.
    """

    def __init__(self, port: int, *, there: int = _NEVER, back: int = _NEVER, passes: int = 1) -> None:
        self._target = port
        self._there, self._back, self._passes = there, back, passes
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._whole = False
        self.port: int = self._server.getsockname()[1]
        self.failed = 0

    def __enter__(self) -> Line:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                fails, self._whole = not self._whole, True
                self._threads.append(threading.Thread(target=self._carry, args=(near, fails)))
                self._threads[-1].start()

    def _carry(self, near: socket.socket, fails: bool) -> None:
        there, back = (self._there, self._back) if fails else (_NEVER, _NEVER)
        with near, socket.create_connection(("127.0.0.1", self._target)) as far, suppress(OSError):
            while there >= 0 and back >= 0:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(_BLOCK)
                    there -= len(data) if source is near else 0
                    back -= source is far
                    if not data:
                        self.failed += fails
                        return
                    if there >= 0 and back >= 0 and (self._passes or not fails):
                        (far if source is near else near).sendall(data)
            for end in (near, far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.failed += fails


@pytest.fixture(scope="module")
def lines(pacs: Orthanc) -> Iterator[dict[str, Line]]:
    """A line to the PACS for each fault."""
    web_port = int(pacs.url.rpartition(":")[2])
    with ExitStack() as opened:
        yield {
            name: opened.enter_context(Line(pacs.dicom_port if protocol == "dimse" else web_port, **fault))
            for name, (protocol, fault) in FAULTS.items()
        }


@pytest.fixture(scope="module")
def cut_off(
    tiny_bundle: Path, lines: dict[str, Line], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """A station that sends results by the line that its sender names: LINE0, LINE1 and so on."""
    destinations: dict[str, dict[str, object]] = {}
    for number, (name, line) in enumerate(lines.items()):
        common = {"protocol": FAULTS[name][0], "timeout_s": 2}
        dimse = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": line.port}
        web = {"url": f"http://127.0.0.1:{line.port}/dicom-web"}
        destinations[f"line{number}"] = common | (dimse if FAULTS[name][0] == "dimse" else web)
    rules = {
        "quiet_time_s": 0.2,
        "destinations": destinations,
        "rules": [
            {"name": name, "match": {"calling_ae": name}, "destinations": [name]} for name in destinations
        ],
    }
    archive = tmp_path_factory.mktemp("cut-off") / "archive"
    with station(tiny_bundle, archive, rules, "--no-http", delivery_max_pause_s=1) as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_results_arrive_once(
    fault: str, cut_off: Station, lines: dict[str, Line], pacs: Orthanc, tmp_path: Path
) -> None:
    file = new_chest(tmp_path / "chest.dcm")
    study, number = str(dcmread(file).StudyInstanceUID), list(FAULTS).index(fault)
    said = dcmtk.storescu(cut_off.dicom_port, file, options=("-aet", f"LINE{number}"))
    assert "(Success)" in said
    cut_off.said(rf"-line{number} attempt=1 state=waiting outcome=not-delivered")
    cut_off.said(rf"-line{number} attempt=\d+ state=done")
    assert lines[fault].failed == 1
    held = [modality_of(pacs, each) for each in pacs.wait_for_study(study, 3)]
    assert sorted(held) == ["OT", "PR", "SR"]


def modality_of(pacs: Orthanc, identifier: str) -> str:
    """The modality of an object there."""
    return str(pacs.get(f"/instances/{identifier}/simplified-tags")["Modality"])


def test_a_pacs_that_refuses_for_long_gets_everything_in_the_end(tiny_bundle: Path, tmp_path: Path) -> None:
    """It rejects the association, then the objects, and then somebody has set it up rightly."""
    dicom_port = free_port()
    peer = {
        "protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom_port, "timeout_s": 5,
    }  # fmt: skip
    rules = {
        "quiet_time_s": 0.2,
        "destinations": {"pacs": peer},
        "rules": [{"name": "all", "destinations": ["pacs"]}],
    }
    file = new_chest(tmp_path / "chest.dcm")
    folder = tmp_path / "orthanc"
    with station(tiny_bundle, tmp_path / "archive", rules, "--no-http", delivery_max_pause_s=0.5) as running:
        with orthanc(folder, dicom_port=dicom_port, DicomCheckCalledAet=True, DicomAet="ANOTHER"):
            assert "(Success)" in dcmtk.storescu(running.dicom_port, file)
            running.said(r"-pacs attempt=2 state=waiting")
        with orthanc(folder, dicom_port=dicom_port, DicomAlwaysAllowStore=False) as refusing:
            tries = max(map(int, re.findall(r"-pacs attempt=(\d+)", "\n".join(running.lines))))
            running.said(rf"-pacs attempt={tries + 2} state=waiting")  # begun while it was there
            assert not refusing.instances()
        with orthanc(folder, dicom_port=dicom_port) as taking:
            running.said(r"-pacs attempt=\d+ state=done")
            modalities = [modality_of(taking, each) for each in taking.instances()]
    assert sorted(modalities) == ["OT", "PR", "SR"]
