"""Storage Commitment where several nodes share one archive folder: one of them reports."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from cxrserve.archive.archive import Archive
from cxrserve.archive.rules import DEFAULT
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.pacs import commitment
from cxrserve.pacs.commitment import Commitments
from cxrserve.settings import Settings
from tests.conftest import MakeSettings
from tests.orthanc import free_port

_TAKES_S = 0.5
# Locks a file, says so, and waits to be killed.
_HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def modality(on_report: Callable[[str], None]) -> Iterator[int]:
    """A peer that takes a while for each report; its port."""

    def report(event: Event) -> tuple[int, None]:
        on_report(str(event.event_information.TransactionUID))
        time.sleep(_TAKES_S)
        return 0x0000, None

    entity, port = AE("MODALITY"), free_port()
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        yield port
    finally:
        entity.shutdown()


@pytest.fixture
def settings(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    return make_settings(archive=tmp_path / "archive", archive_min_free_bytes=1)


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    with Pipeline(settings) as pipeline, Archive.open(settings, pipeline, {}) as opened:
        yield opened


def note(node: Commitments, transaction: str, port: int) -> None:
    """A request, as `on_action` notes it."""
    node._note(
        {
            "ae": "MODALITY",
            "transaction": transaction,
            "objects": [["1.2", "3.4"]],
            "host": "127.0.0.1",
            "port": port,
        }
    )


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_of_several_nodes_one_reports(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "commitments"
    folder.mkdir()
    reported: list[str] = []
    with modality(reported.append) as port, ExitStack() as running:
        nodes = [Commitments(settings, archive, DEFAULT) for _ in range(3)]
        for transaction in ("1.1", "1.2", "1.3"):
            note(nodes[0], transaction, port)
        for node in nodes:
            node.start()
            running.callback(node.close)
        wait_for(lambda: not list(folder.iterdir()))
        time.sleep(2 * _TAKES_S)
    assert sorted(reported) == ["1.1", "1.2", "1.3"]


def test_what_a_dead_node_was_at_is_reported(
    settings: Settings, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "_LOOK_S", 0.2)
    folder = tmp_path / "archive" / "commitments"
    folder.mkdir()
    reported: list[str] = []
    with modality(reported.append) as port, ExitStack() as running:
        node = Commitments(settings, archive, DEFAULT)
        note(node, "1.1", port)
        (request,) = folder.iterdir()
        other = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(request)], stdout=subprocess.PIPE, text=True
        )
        running.enter_context(other)
        running.callback(other.kill)
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        node.start()
        running.callback(node.close)
        time.sleep(1)
        assert reported == []
        other.kill()
        wait_for(lambda: not list(folder.iterdir()))
    assert reported == ["1.1"]
