"""Several nodes, one PostgreSQL and one archive folder: each image is worked on once, by whoever is free."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread

from tests import dcmtk
from tests.orthanc import Orthanc
from tests.pacs.conftest import new_chest
from tests.stations import station

# A worker that takes a node for dead after two seconds, not a minute.
_IMPATIENT = (
    "from cxrserve.archive.jobs import scheduler; scheduler._BEAT_S, scheduler._SILENT_S = 0.5, 2; "
    "from cxrserve.settings import Settings; from cxrserve.station import serve; "
    "raise SystemExit(serve(Settings(), http=False, dicom=False))"
)


def test_two_nodes_share_the_work(
    tiny_bundle: Path, tmp_path: Path, pacs: Orthanc, postgres_url: str
) -> None:
    peer = {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port}
    rules = {
        "quiet_time_s": 1,
        "destinations": {"pacs": peer},
        "rules": [{"name": "all", "destinations": ["pacs"], "results": ["report", "presentation-state"]}],
    }
    shared = {"database_url": postgres_url, "study_workers": 1}
    files = [new_chest(tmp_path / f"{number}.dcm") for number in range(12)]
    before = len(pacs.instances())
    with (
        station(tiny_bundle, tmp_path / "archive", rules, "--no-http", node_name="first", **shared) as first,
        station(
            tiny_bundle, tmp_path / "archive", rules, "--worker-only", node_name="second", **shared
        ) as second,
    ):
        second.said("works on")
        said = dcmtk.storescu(first.dicom_port, *files)
        assert said.count("Received Store Response (Success)") == len(files)
        pacs.wait_for(before + 2 * len(files))
        read = [
            [found[1] for line in each.lines if (found := re.search(r"object=(\w+) state=done", line))]
            for each in (first, second)
        ]
        with (
            pytest.raises(AssertionError, match=rf"belongs to the archive folder {tmp_path / 'archive'} on "),
            station(
                tiny_bundle, tmp_path / "another", rules, "--worker-only", node_name="third", **shared
            ) as third,
        ):
            third.said("works on")
    assert all(read), "one of them did nothing"
    assert len(read[0]) + len(read[1]) == len({*read[0], *read[1]}) == len(files)
    assert len(pacs.instances()) == before + 2 * len(files)


def test_a_dead_node_leaves_nothing_behind(
    tiny_bundle: Path, tmp_path: Path, pacs: Orthanc, postgres_url: str
) -> None:
    """The first dies for good while it delivers to a peer that never answers; the second delivers instead."""
    peer: dict[str, object] = {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1"}
    shared = {"database_url": postgres_url}
    file = new_chest(tmp_path / "chest.dcm")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = rules_to(peer | {"port": silent.getsockname()[1], "timeout_s": 120})
        with station(
            tiny_bundle, tmp_path / "archive", hanging, "--no-http", node_name="dead", **shared
        ) as first:
            assert "(Success)" in dcmtk.storescu(first.dicom_port, file)
            connection, _ = silent.accept()
            first.stop(signal.SIGKILL)
            connection.close()
    path = tmp_path / "archive.rules.yaml"
    path.write_text(yaml.safe_dump(rules_to(peer | {"port": pacs.dicom_port})))
    settings = {
        "bundle": tiny_bundle,
        "archive": tmp_path / "archive",
        "rules": path,
        "node_name": "heir",
        "threads": 1,
        "decode_workers": 1,
        "database_url": postgres_url,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXRSERVE_")}
    environment |= {f"CXRSERVE_{name.upper()}": str(value) for name, value in settings.items()}
    heir = subprocess.Popen([sys.executable, "-c", _IMPATIENT], env=environment)
    try:
        pacs.wait_for_study(str(dcmread(file).StudyInstanceUID), 3)
    finally:
        heir.terminate()
        heir.wait(60)


def rules_to(peer: dict[str, object]) -> dict[str, object]:
    """Rules that send everything to `peer` at once."""
    return {
        "quiet_time_s": 0.2,
        "destinations": {"pacs": peer},
        "rules": [{"name": "all", "destinations": ["pacs"]}],
    }
