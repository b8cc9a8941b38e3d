"""The kill run: objects are sent while the node is killed with -9 again and again; nothing may be lost.

    python -m tests.pacs.kill_run --kills 50 --objects 300 --database sqlite

A sender that knows nothing of the node's deaths sends every object until it is acknowledged, and writes down
when it was. Results go to a real PACS. In the end the two are compared: every acknowledged object has exactly
one set of results there, and every study a report that speaks of all its images. A run that fails keeps its
folder (archive, logs, databases), and prints the rows of each image that is missing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import yaml
from pydicom import Dataset, dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pynetdicom.ae import ApplicationEntity

from cxrserve.archive.storage.database import Database, sqlalchemy_url
from cxrserve.archive.storage.tables import JOBS, OBJECTS
from tests import radiographs
from tests.bundles import write_tiny_bundle
from tests.orthanc import Orthanc, free_port, orthanc
from tests.postgres import dump, postgres

_START = (
    "from cxrserve.settings import Settings; from cxrserve.station import serve; "
    "raise SystemExit(serve(Settings(), http=False))"
)
_READY = "is ready on"
_PATIENCE_S = 120.0
_IMAGES_A_STUDY = (1, 1, 2, 3)
_PICTURES = 10  # every tenth object also gets its overlay, which is a hundred times as large as the rest


@dataclass(kw_only=True)
class Outcome:
    """The figures of one run.

    Attributes:
        starting: kills before the node listened.
        cut_off: times the node died while the sender waited for its answer.
        results: presentation states, one an image. revisions: reports.
        lost: acknowledged objects without a set of results.
        doubled: objects with more than one set.
        incomplete: studies without a report on all their images.
        most_claims: how often one job was claimed, at the most: tries that a kill ended are among them.
        most_begun: how often the reading of one image was begun, at the most.
        drained_s: from the last start to the last result, sending included where it was not over.
    """

    database: str
    objects: int
    studies: int
    kills: int = 0
    starting: int = 0
    acknowledged: int = 0
    cut_off: int = 0
    results: int = 0
    revisions: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    most_claims: int = 0
    most_begun: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    sent_s: float = 0.0
    drained_s: float = 0.0

    @property
    def sound(self) -> bool:
        """True where nothing was lost or doubled."""
        return not (self.lost or self.doubled or self.incomplete) and self.acknowledged == self.objects


class Node:
    """A node that dies and comes back at the same address."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            log.write(b"--- start\n")
            return subprocess.Popen(
                [sys.executable, "-c", _START], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """kill -9, and start again."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._started()

    def is_ready(self) -> bool:
        """True once this process listens."""
        assert self.process.poll() is None, self._log.read_text()[-3000:]
        return _READY in self._log.read_text().rpartition("--- start\n")[2]

    def wait_ready(self) -> None:
        """Wait until it listens."""
        until = time.monotonic() + _PATIENCE_S
        while not self.is_ready():
            assert time.monotonic() < until, self._log.read_text()[-3000:]
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.wait(_PATIENCE_S)


class Sender(threading.Thread):
    """Sends until everything is acknowledged; a modality that was told to.

    Attributes:
        acknowledged: SOP Instance UIDs, in the order of their answers.
    """

    def __init__(self, objects: Sequence[Dataset], port: int, outcome: Outcome) -> None:
        super().__init__(name="sender")
        self._waiting = list(objects)
        self._port = port
        self._outcome = outcome
        self.acknowledged: list[str] = []
        self.slower = threading.Event()  # set while there are kills to come, so that they meet work

    def run(self) -> None:
        entity = ApplicationEntity("SENDER")
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        started = time.monotonic()
        while self._waiting:
            association = entity.associate("127.0.0.1", self._port, ae_title="CXRSERVE")
            while self._waiting and association.is_established:
                self._send(association)
            if association.is_established:
                association.release()
            else:
                time.sleep(0.05)
        self._outcome.sent_s = round(time.monotonic() - started, 1)

    def _send(self, association: Any) -> None:
        dataset = self._waiting[0]
        status = association.send_c_store(dataset).get("Status")
        if status == 0x0000:
            self.acknowledged.append(str(dataset.SOPInstanceUID))
            self._waiting.pop(0)
        elif status is None:
            self._outcome.cut_off += 1
            association.abort()
        else:
            time.sleep(0.1)
            self._waiting.append(self._waiting.pop(0))
        if self.slower.is_set():
            time.sleep(random.uniform(0, 0.3))


def run(folder: Path, bundle: Path, pacs: Orthanc, database_url: str, *, kills: int, objects: int) -> Outcome:
    """One run; `folder` takes the archive and its log."""
    datasets = phantoms(objects)
    studies = {str(each.StudyInstanceUID) for each in datasets}
    outcome = Outcome(
        database="postgres" if database_url else "sqlite", objects=len(datasets), studies=len(studies)
    )
    port = free_port()
    node = Node(_environment(folder, bundle, pacs, database_url, port), folder / "node.log")
    sender = Sender(datasets, port, outcome)
    sender.slower.set()
    sender.start()
    try:
        for _ in range(kills):
            _live_a_while(node, outcome)
            node.kill()
            outcome.kills += 1
        sender.slower.clear()
        started = time.monotonic()
        node.wait_ready()
        sender.join(_PATIENCE_S * 5)
        assert not sender.is_alive(), f"{len(sender.acknowledged)} of {objects} objects were acknowledged"
        outcome.acknowledged = len(sender.acknowledged)
        _wait_until_drained(pacs, sender.acknowledged)
        outcome.drained_s = round(time.monotonic() - started, 1)
    finally:
        node.stop()
    _compare(pacs, datasets, outcome)
    log = (folder / "node.log").read_text().splitlines()
    _look_into(folder / "archive" / "index.db", database_url, outcome)
    if not outcome.sound:
        told = ("WARNING", "ERROR", "state=refused", "state=failed")
        outcome.log = [line for line in log if any(word in line for word in told)][-50:]
    return outcome


def _live_a_while(node: Node, outcome: Outcome) -> None:
    """Let the node live until a random moment: most often some time after it listens, else before."""
    if random.random() < 0.2:
        time.sleep(random.uniform(0.2, 1.5))
        outcome.starting += not node.is_ready()
        return
    node.wait_ready()
    time.sleep(random.uniform(0.0, 1.5))


def phantoms(count: int) -> list[Dataset]:
    """Small radiographs that differ in their UIDs, one to three in a study."""
    dataset = radiographs.dataset(96, 80)
    made: list[Dataset] = []
    while len(made) < count:
        study, size = generate_uid(), min(random.choice(_IMAGES_A_STUDY), count - len(made))
        for _ in range(size):
            file = io.BytesIO()
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid()
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.ViewPosition = "AP" if len(made) % _PICTURES == 0 else "PA"
            dataset.save_as(file, enforce_file_format=True)
            made.append(dcmread(io.BytesIO(file.getvalue())))
    return made


def _environment(folder: Path, bundle: Path, pacs: Orthanc, database_url: str, port: int) -> dict[str, str]:
    peer = {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port}
    rules = {
        "quiet_time_s": 0.5,
        "destinations": {"pacs": {**peer, "timeout_s": 20}},
        "rules": [
            {"name": "pictures", "match": {"view": "AP"}, "destinations": ["pacs"]},
            {"name": "rest", "destinations": ["pacs"], "results": ["report", "presentation-state"]},
        ],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    settings = {
        "bundle": bundle,
        "archive": folder / "archive",
        "rules": folder / "rules.yaml",
        "database_url": database_url,
        "node_name": "killed",
        "dicom_port": port,
        "threads": 1,
        "decode_workers": 1,
        "delivery_max_pause_s": 2,
        "archive_min_free_bytes": 1,
    }
    usual = {name: value for name, value in os.environ.items() if not name.startswith("CXRSERVE_")}
    return usual | {f"CXRSERVE_{name.upper()}": str(value) for name, value in settings.items()}


def _wait_until_drained(pacs: Orthanc, acknowledged: Sequence[str]) -> None:
    """Wait until each object has a presentation state and each study a report of all, or nothing moves."""
    before, still_since = -1, time.monotonic()
    while time.monotonic() - still_since < _PATIENCE_S:
        states, reports = _held(pacs)
        covered = {image for images in reports for image in images}
        if set(acknowledged) <= set(states) and set(acknowledged) <= covered:
            time.sleep(3)  # what comes too often would come now
            return
        if len(states) + len(reports) != before:
            before, still_since = len(states) + len(reports), time.monotonic()
        time.sleep(0.5)


_cache: dict[str, dict[str, Any]] = {}


def _held(pacs: Orthanc) -> tuple[list[str], list[frozenset[str]]]:
    """What the PACS holds: the image of each presentation state, and the images of each report."""
    states, reports = [], []
    for identifier in pacs.instances():
        if identifier not in _cache:
            _cache[identifier] = httpx.get(
                f"{pacs.url}/instances/{identifier}/simplified-tags", timeout=60
            ).json()
        tags = _cache[identifier]
        if tags["Modality"] == "PR":
            series = tags["ReferencedSeriesSequence"]
            states += [
                each["ReferencedSOPInstanceUID"] for one in series for each in one["ReferencedImageSequence"]
            ]
        elif tags["Modality"] == "SR":
            evidence = tags["CurrentRequestedProcedureEvidenceSequence"]
            reports.append(
                frozenset(
                    each["ReferencedSOPInstanceUID"]
                    for study in evidence
                    for series in study["ReferencedSeriesSequence"]
                    for each in series["ReferencedSOPSequence"]
                )
            )
    return states, reports


def _compare(pacs: Orthanc, datasets: Sequence[Dataset], outcome: Outcome) -> None:
    states, reports = _held(pacs)
    counted = Counter(states)
    of_study: dict[str, set[str]] = {}
    for each in datasets:
        of_study.setdefault(str(each.StudyInstanceUID), set()).add(str(each.SOPInstanceUID))
    images = {uid for uids in of_study.values() for uid in uids}
    mine = [report & images for report in reports if report & images]
    outcome.results = sum(counted[uid] for uid in images)
    outcome.revisions = len(mine)
    outcome.lost = sorted(uid for uid in images if counted[uid] == 0)
    outcome.doubled = sorted(uid for uid in images if counted[uid] > 1)
    outcome.doubled += [f"report of {sorted(one)}" for one, times in Counter(mine).items() if times > 1]
    outcome.incomplete = [study for study, uids in of_study.items() if frozenset(uids) not in mine]


def _look_into(file: Path, database_url: str, outcome: Outcome) -> None:
    """Read how often jobs were begun, and all rows of an image that is missing or doubled."""
    index = Database(sqlalchemy_url(database_url, file), timeout_s=20)
    try:
        with index.reading() as connection:
            outcome.most_begun = connection.execute(sa.select(sa.func.max(OBJECTS.c.tries))).scalar_one()
            claims = sa.select(sa.func.max(JOBS.c.claims))
            outcome.most_claims = connection.execute(claims).scalar_one()
            for uid in {*outcome.lost, *outcome.doubled}:
                rows = connection.execute(sa.select(OBJECTS).where(OBJECTS.c.sop_instance_uid == uid))
                for image in rows.mappings().all():
                    jobs = sa.select(JOBS).where(JOBS.c.study_key == image["study_key"])
                    outcome.rows.append({**image, "header": len(image["header"])})
                    outcome.rows += [dict(row) for row in connection.execute(jobs).mappings()]
    finally:
        index.close()


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cxrserve-kills-"))
    with ExitStack() as opened:
        url = opened.enter_context(postgres()) if arguments.database == "postgres" else ""
        pacs = opened.enter_context(orthanc(folder / "orthanc"))
        bundle = write_tiny_bundle(folder / "bundle")
        outcome = run(folder, bundle, pacs, url, kills=arguments.kills, objects=arguments.objects)
        if url and not outcome.sound:
            dump(url, folder / "postgres.sql")
    if outcome.sound:
        shutil.rmtree(folder)
    else:
        sys.stderr.write(f"what is left of it is kept in {folder}\n")
    sys.stdout.write(json.dumps(asdict(outcome), indent=1) + "\n")
    sys.exit(0 if outcome.sound else 1)


if __name__ == "__main__":
    main()
