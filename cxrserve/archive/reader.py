"""One image read, and what came of it kept; what is believed of an image whose reading does not end.

An image may break what reads it: its decoder, which is ended alone, or the whole process. So a reading is
counted before it begins. But decoders also fail, and processes also die, for the machine's sake, and disks
are full for hours, and a sound image must not be refused for that. So an error that comes in order counts
only where nobody foresaw it; and an image whose reading several processes did not survive is begun again only
in one that has lived for a while, and longer each time. Deaths that have another cause come at any time, and
do not meet it twenty times in a row; and what is sound is read meanwhile, even where an image is to blame.
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
from importlib import import_module
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cxrserve.archive.index import OBJECTS, STUDIES, Index
from cxrserve.archive.material import moment
from cxrserve.archive.rules import Rule, Rules
from cxrserve.archive.store import DamagedObject, ObjectExpired, Store
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.errors import CxrserveError, DecoderFailed, ImageError, NotReady, RequestError
from cxrserve.reports.answer import answer
from cxrserve.reports.dicom import Options, image_results, read_source

MOST_DEATHS: Final = 20  # an image whose reading was begun this often and never ended breaks the process
DECODER_TRIES: Final = 8  # with their pauses more than a minute; a machine may be in need for that long

_audit: Final = logging.getLogger("cxrserve.audit")
_OVERLAY_SIDE: Final = 1024
_READ_TIMEOUT_S: Final = 600.0  # work behind a queue is in no hurry, but an engine that hangs is noticed
_DEATHS_BELIEVED: Final = 3  # to have another cause
_LONGEST_LIFE_S: Final = 64.0
_FINAL: Final = (ImageError, RequestError, DamagedObject, ObjectExpired)
_FORESEEN: Final = (CxrserveError, DBAPIError, PoolTimeout)
_PASSING: Final = frozenset((errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE))
_LOADING: Final = threading.Lock()


class RuleGone(CxrserveError):
    """The rules were changed while an image of one that is gone had still to be worked on."""

    slug = "rule-gone"
    title = "The rules no longer say what to do with the image"


class ImageReader:
    """Reads kept images. Thread-safe, and safe beside other nodes."""

    def __init__(self, store: Store, index: Index, rules: Rules, pipeline: Pipeline) -> None:
        self._store: Final = store
        self._index: Final = index
        self._rules: Final = {rule.name: rule for rule in rules.rules}
        self._pipeline: Final = pipeline
        self._born: Final = time.monotonic()
        self._lock: Final = threading.Lock()
        self._decoder_failures: Final[Counter[str]] = Counter()  # of this process: another tries anew

    def read(self, sop_instance_uid: str) -> None:
        """Read one image, and note what came of it; nothing where that was noted before.

        Raises:
            Exception: whatever may pass; the reading is to be tried again.
        """
        load_reports()  # on a busy machine it takes seconds, in which no image is to blame for a death
        this = OBJECTS.c.sop_instance_uid == sop_instance_uid
        with self._index.reading() as connection:
            row = connection.execute(sa.select(OBJECTS, STUDIES.c.stat).join(STUDIES).where(this)).one()
        if row.state != "waiting":
            return
        started = time.perf_counter()
        state, problem = "done", None
        try:
            if not self._store.results_path(row.sha256).exists():
                with self._counted(row):
                    self._store.publish(row.sha256, self._results(row))
        except _FINAL as error:
            if self._may_pass(row.sha256, error):
                raise
            state = "failed" if isinstance(error, DamagedObject | ObjectExpired) else "refused"
            problem = {"slug": error.slug, "title": error.title, "detail": error.detail}
        with self._index.writing() as connection:
            connection.execute(
                OBJECTS.update()
                .where(this, OBJECTS.c.state == "waiting")
                .values(state=state, problem=None if problem is None else json.dumps(problem))
            )
            self._index.touch(connection)
        _audit.info(
            "object=%s state=%s outcome=%s ms=%d bytes=%d rows=%s columns=%s model=%s",
            row.sha256,
            state,
            "ok" if problem is None else problem["slug"],
            (time.perf_counter() - started) * 1000,
            row.bytes,
            row.rows,
            row.columns,
            self._pipeline.predictor.bundle.sha256,
        )

    @contextmanager
    def _counted(self, row: Any) -> Iterator[None]:
        """Count a reading that begins; where it ends with an error that was foreseen, that was none."""
        self._begin(row)
        try:
            yield
        except _FORESEEN:
            self._add(row, -1)
            raise

    def _begin(self, row: Any) -> None:
        if row.tries >= MOST_DEATHS:
            raise DamagedObject(f"reading this image was begun {row.tries} times and never ended.")
        deaths = row.tries - _DEATHS_BELIEVED
        if time.monotonic() - self._born < (min(2.0**deaths, _LONGEST_LIFE_S) if deaths >= 0 else 0.0):
            raise NotReady(
                f"reading this image was begun {row.tries} times and never ended; others go first."
            )
        self._add(row, 1)

    def _add(self, row: Any, tries: int) -> None:
        with self._index.writing() as connection:
            connection.execute(
                OBJECTS.update()
                .where(OBJECTS.c.sop_instance_uid == row.sop_instance_uid)
                .values(tries=OBJECTS.c.tries + tries)
            )

    def _may_pass(self, sha256: str, error: CxrserveError) -> bool:
        """True where the machine may be to blame and not the image."""
        if isinstance(error, DecoderFailed):
            with self._lock:
                self._decoder_failures[sha256] += 1
                if self._decoder_failures[sha256] < DECODER_TRIES:
                    return True
                del self._decoder_failures[sha256]
        return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING

    def _results(self, row: Any) -> dict[str, bytes]:
        """The files of one image's results."""
        if row.expired:
            raise ObjectExpired("the image was deleted before it was read: its retention time was over.")
        kinds = rule_of(row, self._rules).made
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
            priority="stat" if row.stat else "routine",
        )
        summary, made = image_results(source, reading, bundle, when=moment(row.received), options=options)
        return {
            "answer.json": answer(reading, bundle).model_dump_json().encode(),
            "summary.json": summary.model_dump_json().encode(),
            **{f"{each.kind}.dcm": each.part10 for each in made},
        }


def rule_of(image: Any, rules: Mapping[str, Rule]) -> Rule:
    """The rule under which an image (a row) was kept.

    Raises:
        RuleGone: `rules` have none of that name.
    """
    if image.rule not in rules:
        raise RuleGone(
            f"the rules have no rule {image.rule} any more, which says what is made of an image and where it "
            "goes. Put it back and retry, or purge this."
        )
    return rules[image.rule]


def load_reports() -> None:
    """Import what makes DICOM objects, one thread at a time: two that begin at once can fail."""
    with _LOADING:
        for name in ("summary", "overlay", "presentation", "segmentation", "report"):
            import_module(f"cxrserve.reports.dicom.{name}")
