"""Die at every point of the way of one object, one after the other, and see what the next start makes of it.

    python -m tests.archive.kill_points FOLDER [--whole] [--every N]

A point is before or after an fsync, a rename, a commit (of the archive's tables and of the engine's), and
where an object was received, its answer given, its results sent. One process imports everything and forks a
child for each point, which kills itself with -9 there; a second child then starts as a node would. Prints one
line of JSON a point. `--whole` goes through reading and delivery too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import cxrserve.reports.dicom.overlay
import cxrserve.reports.dicom.presentation
import cxrserve.reports.dicom.report  # noqa: F401 - imported once here, and not by every child
from cxrserve.archive.archive import Archive
from cxrserve.archive.jobs.job_store import open_database
from cxrserve.archive.receipt import Source
from cxrserve.archive.receiving.intake import Intake
from cxrserve.archive.rules import CurrentRules
from cxrserve.archive.rules_file import load_rules
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import OBJECTS, STUDIES
from cxrserve.bundle.contract import load_bundle
from cxrserve.imaging.display_header import DisplayedImage
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.dicom.objects import Reference
from cxrserve.settings import Settings
from tests import radiographs
from tests.bundles import write_tiny_bundle

_SENDER = Source(protocol="file")
_RULES = """
quiet_time_s: 0
destinations: {folder: {protocol: stow, url: "http://nowhere"}}
rules: [{name: all, destinations: [folder]}]
"""
_PATIENCE_S = 120.0


class Points:
    """Counts the points that are passed once armed, and dies at number `deadly`."""

    def __init__(self, deadly: int, notes: int) -> None:
        self._deadly = deadly
        self._notes = notes
        self._count = 0
        self.armed = False

    def note(self, **values: Any) -> None:
        """Tell the parent something, whatever happens next."""
        os.write(self._notes, (json.dumps(values) + "\n").encode())

    def passed(self, name: str) -> None:
        """Pass a point, or die at it."""
        if not self.armed:
            return
        self._count += 1
        if self._count == self._deadly:
            self.note(point=name)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def around(self, owner: Any, attribute: str, name: str) -> None:
        """Make points before and after every call of a function."""
        inner: Callable[..., Any] = getattr(owner, attribute)

        def outer(*arguments: Any, **named: Any) -> Any:
            self.passed(f"before {name}")
            result = inner(*arguments, **named)
            self.passed(f"after {name}")
            return result

        setattr(owner, attribute, outer)

    def install(self) -> None:
        """Make the points of the operating system and the databases."""
        self.around(os, "fsync", "fsync")
        self.around(Path, "rename", "rename")
        self.around(sa.engine.default.DefaultDialect, "do_commit", "commit")


class Folder:
    """A destination: notes what came, in a file that outlives its writer."""

    def __init__(self, path: Path, points: Points) -> None:
        self._path = path
        self._points = points

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """As `Destination`."""
        self._points.passed("before sending")
        with self._path.open("a") as log:
            log.writelines(f"{each.name} {each.stat().st_size} {each}\n" for each in objects)
        self._points.passed("after sending")
        return ()


def no_decoder(data: bytes) -> DisplayedImage:
    """Decode nothing: no object is sent twice in another form here."""
    raise AssertionError("nothing is compared here")


def _intake(settings: Settings, data: bytes, points: Points) -> None:
    """Receive, in a process that does nothing else."""
    assert settings.archive is not None
    store = Store(settings.archive, "killed")
    index = open_database(settings)
    intake = Intake(
        store,
        index,
        CurrentRules(load_rules(settings.rules)),
        settings,
        load_bundle(settings.bundle),
        decode=no_decoder,
    )
    points.armed = True
    points.passed("received")
    receipt = intake.receive(data, _SENDER)
    points.note(acknowledged=receipt.outcome)
    points.passed("answered")
    points.armed = False
    with index.reading() as connection:
        objects = connection.execute(sa.select(OBJECTS)).all()
        undone = connection.execute(sa.select(sa.func.count()).where(STUDIES.c.open == 1)).scalar_one()
    files = list(settings.archive.glob("objects/*/*.dcm"))
    points.note(objects=len(objects), undone=undone, files=len(files), sound=files[0].read_bytes() == data)
    intake.close()
    index.close()


def _whole(settings: Settings, data: bytes, points: Points) -> None:
    """Receive, read, deliver."""
    assert settings.archive is not None
    sent = settings.archive.with_suffix(".sent")
    with ExitStack() as opened:
        pipeline = opened.enter_context(Pipeline(settings))
        archive = opened.enter_context(Archive.open(settings, pipeline, {"folder": Folder(sent, points)}))
        points.armed = True
        receipt = archive.receive(data, _SENDER)
        points.note(acknowledged=receipt.outcome)
        deadline = time.monotonic() + _PATIENCE_S
        while not archive.jobs.jobs("done") or archive.jobs.jobs():
            assert time.monotonic() < deadline, archive.jobs.jobs()
            time.sleep(0.02)
        points.armed = False
        study = archive.worklist.study(receipt.study_instance_uid)
        assert study is not None
        lines = sent.read_text().splitlines()
        points.note(state=study.state, results=sorted(set(lines)), sent=len(lines))


def _child(work: Callable[[Points], None], deadly: int) -> tuple[bool, dict[str, Any]]:
    """Run `work` in a child; whether it ended by itself, and what it noted."""
    theirs, ours = os.pipe()
    child = os.fork()
    if child == 0:
        points = Points(deadly, ours)
        points.install()
        try:
            work(points)
        except BaseException as error:
            points.note(error=f"{type(error).__name__}: {error}")
            os._exit(1)
        os._exit(0)
    os.close(ours)
    with open(theirs) as notes:
        found: dict[str, Any] = {}
        for line in notes:
            found |= json.loads(line)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status), found


def main() -> None:
    """Go through the points until one is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="leave out points between")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    work = _whole if arguments.whole else _intake
    bundle = write_tiny_bundle(folder / "bundle", sizes=(64,))
    (folder / "rules.yaml").write_text(_RULES)
    data = radiographs.dicom(96, 80)
    ended, deadly = False, 1
    while not ended:
        settings = Settings(
            bundle=bundle,
            archive=folder / f"archive-{deadly}",
            rules=folder / "rules.yaml",
            threads=1,
            decode_workers=1,
            archive_min_free_bytes=1,
            shutdown_timeout_s=1,
        )

        def once(points: Points, settings: Settings = settings) -> None:
            work(settings, data, points)

        ended, before = _child(once, deadly)
        _, after = _child(once, 0)
        line = {"number": deadly, "ended": ended, "before": before, "after": after}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        deadly += arguments.every


if __name__ == "__main__":
    main()
