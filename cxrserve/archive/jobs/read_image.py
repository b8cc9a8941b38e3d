"""Image reader: predicts one stored image and stores the results; gives up images that break every process.

An image may break its reader: the decoder, which dies alone, or the whole process. So a reading is counted
before it begins. But decoders also fail, and processes also die, because of the machine, and disks are full
for hours, and a sound image must not be refused for that. So an error that is reported counts only where
nobody foresaw it; and an image whose reading several processes did not survive is read again only in one that
has lived for a while, and longer each time. Deaths with another cause come at any time, and do not meet the
same image twenty times in a row; meanwhile sound images are read, even where one image is to blame.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cxrserve.archive.jobs.report_inputs import as_time
from cxrserve.archive.rules import CurrentRules, Rule
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import DamagedObject, ObjectExpired, Store
from cxrserve.archive.storage.tables import OBJECTS, STUDIES, ImageState, ObjectRow
from cxrserve.errors import Busy, CxrserveError, DecoderFailed, ImageError, RequestError
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.answer import answer
from cxrserve.reports.dicom import Options, image_results, load_reports, read_source
from cxrserve.reports.dicom.patient import corrected_results

MAX_DEATHS: Final = 20  # an image whose reading was begun this often and never ended breaks the process
DECODER_TRIES: Final = 8  # with their pauses more than a minute; a machine may be in need for that long

_audit: Final = logging.getLogger("cxrserve.audit")
_OVERLAY_SIDE: Final = 1024
_READ_TIMEOUT_S: Final = 600.0  # work behind a queue is in no hurry, but an engine that hangs is noticed
_DEATHS_BELIEVED: Final = 3  # to have another cause
_MAX_LIFE_S: Final = 64.0
_FINAL: Final = (ImageError, RequestError, DamagedObject, ObjectExpired)
_FORESEEN: Final = (CxrserveError, DBAPIError, PoolTimeout)
_PASSING: Final = frozenset((errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE))


class RuleGone(CxrserveError):
    """The rule of an image was removed before the image was read or its results were sent."""

    slug = "rule-gone"
    title = "The rules no longer say what to do with the image"


class ImageReader:
    """Reads stored images. Thread-safe, and safe beside other nodes."""

    def __init__(self, store: Store, database: Database, rules: CurrentRules, pipeline: Pipeline) -> None:
        self._store: Final = store
        self._database: Final = database
        self._rules: Final = rules
        self._pipeline: Final = pipeline
        self._born: Final = time.monotonic()
        self._lock: Final = threading.Lock()
        self._decoder_failures: Final[Counter[str]] = (
            Counter()
        )  # of this process: the next one starts at zero

    def read(self, sop_instance_uid: str) -> None:
        """Read one image and store the outcome; nothing where it was stored before.

        Raises:
            Exception: whatever may pass with time; the reading is to be tried again.
        """
        load_reports()  # on a busy machine it takes seconds, in which no image is to blame for a death
        this = OBJECTS.c.sop_instance_uid == sop_instance_uid
        with self._database.reading() as connection:
            *columns, stat = connection.execute(
                sa.select(OBJECTS, STUDIES.c.stat).join(STUDIES).where(this)
            ).one()
        row = ObjectRow._make(columns)
        if row.state != "waiting":
            return
        started = time.perf_counter()
        state: ImageState = "done"
        problem, warnings = None, ""
        try:
            if not self._store.results_path(row.results).exists():
                if row.replaces and self._store.results_path(row.replaces).exists():
                    self._store.publish(row.results, self._corrected(row))
                else:
                    with self._counted(row):
                        files, warnings = self._results(row, stat=bool(stat))
                        self._store.publish(row.results, files)
        except _FINAL as error:
            if self._may_pass(row.sha256, error):
                raise
            state = "failed" if isinstance(error, DamagedObject | ObjectExpired) else "refused"
            problem = {"slug": error.slug, "title": error.title, "detail": error.detail}
        with self._database.writing() as connection:
            connection.execute(
                OBJECTS.update()
                .where(this, OBJECTS.c.state == "waiting", OBJECTS.c.results == row.results)
                .values(state=state, problem=None if problem is None else json.dumps(problem))
            )
            self._database.touch(connection)
        _audit.info(
            "object=%s state=%s outcome=%s ms=%d bytes=%d rows=%s columns=%s model=%s%s",
            row.sha256,
            state,
            "ok" if problem is None else problem["slug"],
            (time.perf_counter() - started) * 1000,
            row.bytes,
            row.rows,
            row.columns,
            self._pipeline.predictor.bundle.sha256,
            f" warnings={warnings}" if warnings else "",
        )

    @contextmanager
    def _counted(self, row: ObjectRow) -> Iterator[None]:
        """Count a reading that begins; one that ends with a foreseen error is not counted."""
        self._begin(row)
        try:
            yield
        except _FORESEEN:
            self._add(row, -1)
            raise

    def _begin(self, row: ObjectRow) -> None:
        if row.tries >= MAX_DEATHS:
            raise DamagedObject(f"reading this image was begun {row.tries} times and never ended.")
        deaths = row.tries - _DEATHS_BELIEVED
        if time.monotonic() - self._born < (min(2.0**deaths, _MAX_LIFE_S) if deaths >= 0 else 0.0):
            raise Busy(
                f"reading this image was begun {row.tries} times and never ended; other images go first."
            )
        self._add(row, 1)

    def _add(self, row: ObjectRow, tries: int) -> None:
        with self._database.writing() as connection:
            connection.execute(
                OBJECTS.update()
                .where(OBJECTS.c.sop_instance_uid == row.sop_instance_uid)
                .values(tries=OBJECTS.c.tries + tries)
            )

    def _may_pass(self, sha256: str, error: CxrserveError) -> bool:
        """True where the cause may be the machine and not the image."""
        if isinstance(error, DecoderFailed):
            with self._lock:
                self._decoder_failures[sha256] += 1
                if self._decoder_failures[sha256] < DECODER_TRIES:
                    return True
                del self._decoder_failures[sha256]
        return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING

    def _corrected(self, row: ObjectRow) -> dict[str, bytes]:
        """The files of an image that was analysed before its patient or order was corrected."""
        folder = self._store.results_path(row.replaces)
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        return corrected_results(files, row.header)

    def _results(self, row: ObjectRow, *, stat: bool) -> tuple[dict[str, bytes], str]:
        """The files of one image's results, and the codes of its warnings, separated by commas."""
        if row.expired:
            raise ObjectExpired("the image was deleted before it was read: its retention time had ended.")
        kinds = rule_of(row, self._rules.by_name).made
        options = Options(
            overlay="overlay" in kinds,
            presentation_state="presentation-state" in kinds,
            segmentation="segmentation" in kinds,
        )
        data = self._store.read(row.sha256)
        source = read_source(row.header)
        bundle = self._pipeline.predictor.bundle
        reading = self._pipeline.read(
            data,
            explain="positive",
            preview_side=_OVERLAY_SIDE,
            timeout_s=_READ_TIMEOUT_S,
            priority="stat" if stat else "routine",
            senders=_senders(row),
        )
        summary, objects = image_results(source, reading, bundle, when=as_time(row.received), options=options)
        codes = ",".join(sorted({str(warning.code) for warning in reading.image.warnings}))
        files = {
            "answer.json": answer(reading, bundle).model_dump_json().encode(),
            "summary.json": summary.model_dump_json().encode(),
            **{f"{result.kind}.dcm": result.part10 for result in objects},
        }
        return files, codes


def _senders(row: ObjectRow) -> tuple[str, ...]:
    """The names that a site file may have a station for; only a name of that file reaches the watch."""
    return (row.calling_ae,) if row.calling_ae else ()


def rule_of(image: ObjectRow, rules: Mapping[str, Rule]) -> Rule:
    """The rule that took an image when it was received.

    Raises:
        RuleGone: `rules` have none of that name.
    """
    if image.rule not in rules:
        raise RuleGone(
            f"the rules no longer have the rule {image.rule}, which says what is made of the image and "
            "where it goes. Put the rule back and retry, or purge this job."
        )
    return rules[image.rule]
