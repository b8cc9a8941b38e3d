"""What is done with a study: each image read, results made, results sent. The steps of `work.Work`.

Results are made once: the folder of an image's or a revision's results is published whole and never replaced
(`store.Store.publish`), so a step that runs again, or on two machines, finds it and goes on. What is sent are
those files, byte for byte, with UIDs made from what they are about: a destination that gets them twice has
them once.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import sqlalchemy as sa

from cxrserve.archive.destination import DeliveryError, Destination
from cxrserve.archive.index import JOBS, OBJECTS, STUDIES, Index
from cxrserve.archive.material import Material, material, moment
from cxrserve.archive.retries import Retries
from cxrserve.archive.rules import Rule, Rules
from cxrserve.archive.store import DamagedObject, ObjectExpired, Store
from cxrserve.archive.work import Problem
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.errors import CxrserveError, DecoderFailed, ImageError, RequestError
from cxrserve.reports.answer import StudyAnswer, answer, study_answer
from cxrserve.reports.dicom import Options, image_results, read_source, study_report

_log: Final = logging.getLogger("cxrserve.archive")
_audit: Final = logging.getLogger("cxrserve.audit")
_OVERLAY_SIDE: Final = 1024
_READ_TIMEOUT_S: Final = 600.0  # work behind a queue is in no hurry, but an engine that hangs is noticed
_MOST_TRIES: Final = 20  # an image whose reading was begun this often and never ended has broken the process
_DECODER_TRIES: Final = 4  # a decoder that fails may do so for the machine's sake; this often it is the image
_LOADING: Final = threading.Lock()
_FINAL: Final = (ImageError, RequestError, DamagedObject, ObjectExpired)


class StudySteps:
    """The steps, over the archive's parts."""

    def __init__(
        self,
        store: Store,
        index: Index,
        rules: Rules,
        pipeline: Pipeline,
        destinations: Mapping[str, Destination],
        retries: Retries,
    ) -> None:
        self._store: Final = store
        self._index: Final = index
        self._rules: Final = {rule.name: rule for rule in rules.rules}
        self._pipeline: Final = pipeline
        self._destinations: Final = destinations
        self._retries: Final = retries

    def images(self, job: str) -> list[str]:
        """As `work.Steps`; also notes that the work has begun."""
        with self._index.writing() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).one()
            connection.execute(_newest(row).values(state="working"))
            self._index.touch(connection)
            found = connection.execute(
                sa.select(OBJECTS.c.sop_instance_uid)
                .where(OBJECTS.c.study_key == row.study_key, OBJECTS.c.arrival <= row.covers)
                .order_by(OBJECTS.c.arrival)
            )
            return list(found.scalars())

    def image(self, sop_instance_uid: str) -> None:
        """As `work.Steps`."""
        this = OBJECTS.c.sop_instance_uid == sop_instance_uid
        with self._index.writing() as connection:
            row = connection.execute(sa.select(OBJECTS, STUDIES.c.stat).join(STUDIES).where(this)).one()
            if row.state != "waiting":
                return
            connection.execute(OBJECTS.update().where(this).values(tries=OBJECTS.c.tries + 1))
        started = time.perf_counter()
        state, problem = "done", None
        try:
            if row.tries >= _MOST_TRIES:
                raise DamagedObject(f"reading this image was begun {row.tries} times and never ended.")
            if not self._store.results_path(row.sha256).exists():
                self._store.publish(row.sha256, self._read(row))
        except _FINAL as error:
            if isinstance(error, DecoderFailed) and row.tries + 1 < _DECODER_TRIES:
                raise  # the job is tried again after a pause
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

    def _read(self, row: Any) -> dict[str, bytes]:
        """The files of one image's results."""
        if row.expired:
            raise ObjectExpired("the image was deleted before it was read: its retention time was over.")
        data = self._store.read(row.sha256)
        _load_reports()
        source = read_source(row.header)
        bundle = self._pipeline.predictor.bundle
        reading = self._pipeline.read(
            data,
            explain="positive",
            preview_side=_OVERLAY_SIDE,
            timeout_s=_READ_TIMEOUT_S,
            priority="stat" if row.stat else "routine",
        )
        rule = self._rules.get(row.rule)
        kinds = rule.results if rule is not None else ()
        options = Options(
            overlay="overlay" in kinds,
            presentation_state="presentation-state" in kinds,
            segmentation="segmentation" in kinds,
        )
        summary, made = image_results(source, reading, bundle, when=moment(row.received), options=options)
        return {
            "answer.json": answer(reading, bundle).model_dump_json().encode(),
            "summary.json": summary.model_dump_json().encode(),
            **{f"{each.kind}.dcm": each.part10 for each in made},
        }

    def report(self, job: str) -> None:
        """As `work.Steps`."""
        with self._index.reading() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).one()
            images = connection.execute(
                sa.select(OBJECTS)
                .where(OBJECTS.c.study_key == row.study_key, OBJECTS.c.arrival <= row.covers)
                .order_by(OBJECTS.c.arrival)
            ).all()
            before = connection.execute(
                sa.select(sa.func.coalesce(sa.func.max(JOBS.c.covers), 0)).where(
                    JOBS.c.study_key == row.study_key,
                    JOBS.c.kind == "study",
                    JOBS.c.revision < row.revision,
                )
            ).scalar_one()
        _load_reports()
        found = material(self._store, images)
        key = report_key(row.study_key, row.revision)
        whole = study_answer(found.answers, self._pipeline.predictor.bundle) if found.answers else None
        if not self._store.results_path(key).exists():
            self._store.publish(key, self._report(found, whole, row.created))
        positive = None if whole is None else [each.finding for each in whole.findings if each.positive]
        with self._index.writing() as connection:
            for name, files in self._deliveries(images, before, key).items():
                self._index.insert_new(
                    connection,
                    JOBS,
                    id=f"{job}-{name}",
                    kind="delivery",
                    study_key=row.study_key,
                    revision=row.revision,
                    covers=row.covers,
                    destination=name,
                    files=json.dumps(files),
                    stat=row.stat,
                    state="waiting",
                    attempts=0,
                    started=0,
                    tried_s=0.0,
                    created=time.time(),
                    changed=time.time(),
                )
            failed = any(each.state == "failed" for each in images)
            connection.execute(
                _newest(row).values(
                    state="failed" if failed else "refused" if whole is None else "done",
                    positive=None if positive is None else json.dumps(positive),
                )
            )
            self._index.touch(connection)

    def _report(self, found: Material, whole: StudyAnswer | None, created: float) -> dict[str, bytes]:
        bundle = self._pipeline.predictor.bundle
        made = study_report(found.sources, found.summaries, found.refusals, bundle, when=moment(created))
        files = {"report.dcm": made.part10}
        return files if whole is None else files | {"study.json": whole.model_dump_json().encode()}

    def _deliveries(self, images: Sequence[Any], before: int, report: str) -> dict[str, list[str]]:
        """For each destination the files it gets: those of images that are new here, and the report."""
        found: dict[str, list[str]] = {}
        for image in images:
            rule = self._rules.get(image.rule)
            for name in () if rule is None else rule.destinations:
                files = found.setdefault(name, [])
                if image.arrival > before and image.state == "done":
                    files += self._files(image.sha256, rule)
        wanted = {
            name
            for image in images
            if (rule := self._rules.get(image.rule)) and "report" in rule.results
            for name in rule.destinations
        }
        for name in wanted:
            found[name].append(f"{report}/report.dcm")
        return {name: files for name, files in found.items() if files}

    def _files(self, key: str, rule: Rule | None) -> list[str]:
        kinds = () if rule is None else rule.results
        folder = self._store.results_path(key)
        return [f"{key}/{kind}.dcm" for kind in kinds if (folder / f"{kind}.dcm").exists()]

    def deliver(self, job: str) -> None:
        """As `work.Steps`.

        Raises:
            DeliveryError: the destination did not take it, or there is none of that name any more.
        """
        with self._index.reading() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).one()
        if row.state == "done":
            return
        destination = self._destinations.get(row.destination)
        if destination is None:
            raise DeliveryError(
                f"the rules name no destination {row.destination} any more. Put it back and retry, or "
                "purge this.",
                retryable=False,
            )
        keys = [name.partition("/") for name in json.loads(row.files)]
        destination.send([self._store.results_path(key) / name for key, _, name in keys])

    def problem(self, error: Exception) -> Problem:
        """As `work.Steps`; of what nobody foresaw only the kind, as its words may quote a file."""
        if isinstance(error, CxrserveError):
            final = isinstance(error, DeliveryError) and not error.retryable
            return {"slug": error.slug, "title": error.title, "detail": error.detail, "final": final}
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("a step failed: %s\n%s", type(error).__name__, frames.rstrip())
        return {
            "slug": CxrserveError.slug,
            "title": CxrserveError.title,
            "detail": f"a step failed unexpectedly ({type(error).__name__}); the log says where.",
            "final": False,
        }

    def ended(self, job: str, attempt: int, problem: Problem | None) -> None:
        """As `work.Steps`; a job whose time is up, or that can never succeed, becomes a dead letter."""
        pause_s = self._retries.pause_s(attempt)
        with self._index.writing() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).one()
            if row.attempts >= attempt or row.state != "waiting":
                return  # noted before
            state = "done"
            if problem is not None:
                state = "dead" if problem["final"] or self._retries.over(row.tried_s) else "waiting"
            connection.execute(
                JOBS.update()
                .where(JOBS.c.id == job)
                .values(
                    state=state,
                    attempts=attempt,
                    started=attempt,
                    tried_s=row.tried_s + pause_s,
                    problem=None if problem is None else json.dumps(problem),
                    changed=time.time(),
                )
            )
            if row.kind == "study" and problem is not None:
                connection.execute(_newest(row).values(state="failed" if state == "dead" else "waiting"))
            self._index.touch(connection)
        if state == "waiting":
            self._retries.later(job, pause_s)
        _log.log(
            logging.INFO if problem is None else logging.WARNING,
            "job=%s attempt=%d state=%s outcome=%s",
            job,
            attempt,
            state,
            "ok" if problem is None else problem["slug"],
        )


def _load_reports() -> None:
    """Import what makes DICOM objects, one thread at a time: two that begin at once can fail."""
    with _LOADING:
        for name in ("summary", "overlay", "presentation", "segmentation", "report"):
            import_module(f"cxrserve.reports.dicom.{name}")


def report_key(study_key: str, revision: int) -> str:
    """Under which key the results of a revision lie."""
    return f"{study_key}-{revision}"


def job_id(study_key: str, revision: int) -> str:
    """The id of the job that makes a revision."""
    return f"{study_key}-{revision}"


def _newest(row: Any) -> sa.Update:
    """An update of the study of `row` (a job), only while its revision is the newest."""
    return STUDIES.update().where(STUDIES.c.key == row.study_key, STUDIES.c.revision == row.revision)
