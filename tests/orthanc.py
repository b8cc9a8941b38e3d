"""A real PACS: Debian's Orthanc with its DICOMweb plugin, on free ports, with its own folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

_PROGRAM = Path("/usr/sbin/Orthanc")
_PLUGINS = Path("/usr/share/orthanc/plugins")
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A PACS that runs.

    Attributes:
        url: of its REST API; `dicom_web` of its DICOMweb service.
    """

    url: str
    dicom_port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def dicom_web(self) -> str:
        """Base of DICOMweb."""
        return f"{self.url}/dicom-web"

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path` of its REST API."""
        answer = httpx.get(self.url + path, params=query, timeout=_PATIENCE_S)
        answer.raise_for_status()
        return answer.json()

    def instances(self) -> list[str]:
        """Orthanc's own identifiers of all objects."""
        found: list[str] = self.get("/instances")
        return found

    def search(self, **query: str) -> list[dict[str, Any]]:
        """QIDO-RS for instances; DICOM JSON."""
        answer = httpx.get(f"{self.dicom_web}/instances", params=query, timeout=_PATIENCE_S)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def wait_for(self, count: int, timeout_s: float = _PATIENCE_S) -> list[str]:
        """Wait until it holds `count` objects or more."""
        until = time.monotonic() + timeout_s
        while len(found := self.instances()) < count:
            assert time.monotonic() < until, f"{len(found)} of {count} objects arrived in {timeout_s:g} s"
            time.sleep(0.1)
        return found

    def wait_for_study(
        self, study_instance_uid: str, count: int, timeout_s: float = _PATIENCE_S
    ) -> list[str]:
        """Wait until it holds `count` objects or more of a study; Orthanc's own identifiers of them."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}}
        until = time.monotonic() + timeout_s
        while True:
            found: list[str] = httpx.post(f"{self.url}/tools/find", json=query, timeout=_PATIENCE_S).json()
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"{len(found)} of {count} objects arrived in {timeout_s:g} s"
            time.sleep(0.1)

    def file(self, identifier: str) -> bytes:
        """An object as a DICOM file."""
        answer = httpx.get(f"{self.url}/instances/{identifier}/file", timeout=_PATIENCE_S)
        answer.raise_for_status()
        return answer.content


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def orthanc(
    folder: Path,
    *,
    port: int = 0,
    dicom_port: int = 0,
    lua: Sequence[Path] = (),
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Orthanc]:
    """Run Orthanc while the block lasts; it answers when the block begins.

    Args:
        folder: of its storage; the same again finds what was stored.
        port, dicom_port: free ones where they are 0.
        file: a configuration to begin with; what is set here, or below, goes before what stands in it.
        environment: variables that the configuration names as ${NAME}.
        settings: of its configuration file.
    """
    if not _PROGRAM.is_file() or not (_PLUGINS / "libOrthancDicomWeb.so").is_file():
        pytest.skip("orthanc or orthanc-dicomweb is not installed; see tests/debian-packages.txt")
    folder.mkdir(exist_ok=True)
    port, dicom_port = port or free_port(), dicom_port or free_port()
    begun: dict[str, Any] = {} if file is None else json.loads(file.read_text())
    usual = {
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "DicomWeb": {"Enable": True},
    }
    configuration = {
        **(begun or usual),
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomPort": dicom_port,
        "RemoteAccessAllowed": False,
        "Plugins": [str(_PLUGINS / "libOrthancDicomWeb.so")],
        "LuaScripts": [str(script) for script in lua],
        "StableAge": 1,
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("ab") as log:
        process = subprocess.Popen(
            [_PROGRAM, str(path)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        running = Orthanc(url=f"http://127.0.0.1:{port}", dicom_port=dicom_port, process=process)
        _wait(running, folder)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(running: Orthanc, folder: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            running.get("/system")
            return
        except (httpx.TransportError, httpx.HTTPStatusError):
            over = running.process.poll() is not None or time.monotonic() > until
            assert not over, (folder / "orthanc.log").read_text()[-2000:]
            time.sleep(0.05)
