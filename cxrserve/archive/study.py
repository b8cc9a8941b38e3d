"""What is done with a study: its images are read, results made, results sent. The steps of `work.Work`.

Results are made once: the folder of an image's or a revision's results is published whole and never replaced
(`store.Store.publish`), so a step that runs again, or on two machines, finds it and goes on. What is sent are
those files, byte for byte, with UIDs made from what they are about: a destination that gets them twice has
them once.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import sqlalchemy as sa

from cxrserve.archive.destination import DeliveryError, Destination
from cxrserve.archive.index import JOBS, OBJECTS, STUDIES, Index
from cxrserve.archive.material import Material, material, moment, reference_of
from cxrserve.archive.reader import ImageReader, RuleGone, load_reports, rule_of
from cxrserve.archive.retries import Retries
from cxrserve.archive.rules import ResultKind, Rules
from cxrserve.archive.store import Store
from cxrserve.archive.work import Problem
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.errors import CxrserveError
from cxrserve.imaging.border import FOREIGN_ERRORS
from cxrserve.reports.answer import StudyAnswer, study_answer
from cxrserve.reports.dicom import Reference, study_report

_log: Final = logging.getLogger("cxrserve.archive")


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
        self._bundle: Final = pipeline.predictor.bundle
        self._delivered: Final = pipeline.metrics.deliveries
        self._reader: Final = ImageReader(store, index, rules, pipeline)
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
        self._reader.read(sop_instance_uid)

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
        load_reports()
        found = material(self._store, images)
        key = report_key(row.study_key, row.revision)
        whole = study_answer(found.answers, self._bundle) if found.answers else None
        if not self._store.results_path(key).exists():
            self._store.publish(key, self._report(found, whole, row))
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

    def _report(self, found: Material, whole: StudyAnswer | None, row: Any) -> dict[str, bytes]:
        made = study_report(
            found.sources,
            found.summaries,
            found.refusals,
            self._bundle,
            when=moment(row.created),
            revision=row.revision,
            predecessor=self._last_report(row),
        )
        files = {"report.dcm": made.part10}
        return files if whole is None else files | {"study.json": whole.model_dump_json().encode()}

    def _last_report(self, row: Any) -> Reference | None:
        """The newest report that the one of the job `row` takes the place of; None where none can be read."""
        for revision in range(row.revision - 1, 0, -1):
            folder = self._store.results_path(report_key(row.study_key, revision))
            with suppress(*FOREIGN_ERRORS):
                return reference_of(folder / "report.dcm")
        return None

    def _deliveries(self, images: Sequence[Any], before: int, report: str) -> dict[str, list[str]]:
        """For each destination the files it gets: those of images that are new here, and the report.

        What says that an image was refused is not left out, whatever the rule: that would be silence.

        Raises:
            RuleGone: the rules no longer say where those of a new image go.
        """
        found: dict[str, list[str]] = {}
        wanted: set[str] = set()
        for image in images:
            is_new = image.arrival > before
            rule = rule_of(image, self._rules) if is_new else self._rules.get(image.rule)
            if rule is None:
                continue
            for route in rule.destinations:
                kinds = rule.results_for(route)
                files = found.setdefault(route.name, [])
                if is_new and image.state == "done":
                    files += self._files(image.sha256, kinds)
                if "report" in kinds or (is_new and image.state != "done"):
                    wanted.add(route.name)
        for name in wanted:
            found[name].append(f"{report}/report.dcm")
        return {name: files for name, files in found.items() if files}

    def _files(self, key: str, kinds: Sequence[ResultKind]) -> list[str]:
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
            final = isinstance(error, RuleGone) or (isinstance(error, DeliveryError) and not error.retryable)
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
        if row.kind == "delivery":
            self._delivered.labels(row.destination, state).inc()
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


def report_key(study_key: str, revision: int) -> str:
    """Under which key the results of a revision lie."""
    return f"{study_key}-{revision}"


def job_id(study_key: str, revision: int) -> str:
    """The id of the job that makes a revision."""
    return f"{study_key}-{revision}"


def _newest(row: Any) -> sa.Update:
    """An update of the study of `row` (a job), only while its revision is the newest."""
    return STUDIES.update().where(STUDIES.c.key == row.study_key, STUDIES.c.revision == row.revision)
