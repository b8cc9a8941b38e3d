"""Study job: read the images of a revision, make its report, and queue the deliveries.

Results are made once: the folder of an image's or a revision's results is published whole and never replaced
(`files.Store.publish`), so a job that runs again, or on two machines, finds it and goes on. Deliveries send
those files, byte for byte, with UIDs derived from their content: a destination that receives them twice
stores them once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.jobs.queue import corrected_since, new_job, update_revision
from cxrserve.archive.jobs.read_image import ImageReader, rule_of
from cxrserve.archive.jobs.report_inputs import ReportInputs, as_time, read_inputs, reference_of
from cxrserve.archive.rules import CurrentRules, ResultKind
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import Store, revision_key
from cxrserve.archive.storage.tables import JOBS, OBJECTS, JobRow, ObjectRow
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.answer import StudyAnswer, study_answer
from cxrserve.reports.dicom import Reference, load_reports, study_report
from cxrserve.reports.dicom.patient import Patient, patient_of
from cxrserve.reports.fhir_push import pushed_report

_DICOM_REPORT: Final = "report.dcm"
_REPORT_FILES: Final = {"hl7": "report.hl7", "fhir": "report.fhir.json"}  # by protocol


class StudyJob:
    """Does study jobs. Thread-safe, and safe beside other nodes."""

    def __init__(self, store: Store, database: Database, rules: CurrentRules, pipeline: Pipeline) -> None:
        self._store: Final = store
        self._database: Final = database
        self._rules: Final = rules
        self._bundle: Final = pipeline.predictor.bundle
        self._reader: Final = ImageReader(store, database, rules, pipeline)

    def run(self, job: JobRow) -> None:
        """Do one study job.

        Raises:
            Exception: whatever kept an image from being read, or the report from being made.
        """
        if self._is_superseded(job):
            return
        self._mark_working(job)
        for image in self._images(job):
            if image.state == "waiting":
                self._reader.read(image.sop_instance_uid)
        self._report(job)

    def _is_superseded(self, job: JobRow) -> bool:
        """True where the study was corrected since: the next revision makes its report and its deliveries."""
        with self._database.reading() as connection:
            return corrected_since(connection, job)

    def _mark_working(self, job: JobRow) -> None:
        with self._database.writing() as connection:
            connection.execute(update_revision(job).values(state="working"))
            self._database.touch(connection)

    def _images(self, job: JobRow) -> list[ObjectRow]:
        """The images that the revision covers, in the order of their arrival."""
        query = (
            sa.select(OBJECTS)
            .where(OBJECTS.c.study_key == job.study_key, OBJECTS.c.arrival <= job.covers)
            .order_by(OBJECTS.c.arrival)
        )
        with self._database.reading() as connection:
            return [ObjectRow._make(row) for row in connection.execute(query)]

    def _report(self, job: JobRow) -> None:
        """Publish the revision's report; queue its deliveries and end the study in one transaction."""
        images, covered_before = self._images(job), self._covered_before(job)
        if self._is_superseded(job):
            return
        load_reports()
        inputs = read_inputs(self._store, images)
        answer = study_answer(inputs.answers, self._bundle) if inputs.answers else None
        if not self._store.results_path(job.id).exists():
            patient = patient_of(images[0].header)
            self._store.publish(job.id, self._report_files(inputs, answer, patient, job))
        positive = (
            None
            if answer is None
            else [decision.finding for decision in answer.findings if decision.positive]
        )
        failed = any(image.state == "failed" for image in images)
        with self._database.writing() as connection:
            if corrected_since(connection, job):
                return
            for name, files in self._deliveries(images, covered_before, job.id).items():
                self._database.insert_new(
                    connection,
                    JOBS,
                    **new_job(
                        id=f"{job.id}-{name}",
                        kind="delivery",
                        study_key=job.study_key,
                        revision=job.revision,
                        covers=job.covers,
                        destination=name,
                        payload=files,
                        stat=job.stat,
                    ),
                )
            connection.execute(
                update_revision(job).values(
                    state="failed" if failed else "refused" if answer is None else "done",
                    positive=None if positive is None else json.dumps(positive),
                )
            )
            self._database.touch(connection)

    def _covered_before(self, job: JobRow) -> int:
        """The number of objects that the revision before this one covers."""
        query = sa.select(sa.func.coalesce(sa.func.max(JOBS.c.covers), 0)).where(
            JOBS.c.study_key == job.study_key, JOBS.c.kind == "study", JOBS.c.revision < job.revision
        )
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _report_files(
        self, inputs: ReportInputs, answer: StudyAnswer | None, patient: Patient, job: JobRow
    ) -> dict[str, bytes]:
        report = study_report(
            inputs.sources,
            inputs.summaries,
            inputs.refusals,
            self._bundle,
            when=as_time(job.created),
            revision=job.revision,
            predecessor=self._last_report(job),
        )
        files = {"report.dcm": report.part10}
        if answer is not None:
            files["study.json"] = answer.model_dump_json().encode()
        protocols = {peer.protocol for peer in self._rules.now.destinations.values()}
        results = inputs.sources, inputs.summaries, inputs.refusals, self._bundle
        when = as_time(job.created)
        if "hl7" in protocols:
            from cxrserve.reports.hl7 import oru_message  # its library is needed here alone

            files["report.hl7"] = oru_message(*results, patient, report, when=when).encode()
        if "fhir" in protocols:
            files["report.fhir.json"] = pushed_report(*results, when=when)
        return files

    def _last_report(self, job: JobRow) -> Reference | None:
        """The newest earlier report of the study; None where none can be read."""
        for revision in range(job.revision - 1, 0, -1):
            folder = self._store.results_path(revision_key(str(job.study_key), revision))
            with suppress(*FOREIGN_ERRORS):
                return reference_of(folder / "report.dcm")
        return None

    def _deliveries(
        self, images: Sequence[ObjectRow], covered_before: int, report: str
    ) -> dict[str, list[str]]:
        """Files for each destination: results of the images that are new in this revision, and the report.

        A report that says that an image was refused is sent whatever the results of the rule are, unless it
        says `refusal_reports: false`: leaving it out is silence. A destination of HL7 or FHIR gets a message
        in the place of the report, and nothing else.

        Raises:
            RuleGone: the rules no longer say where results of a new image go.
        """
        rules = self._rules.by_name
        files_of: dict[str, list[str]] = {}
        get_report: set[str] = set()
        for image in images:
            is_new = max(image.arrival, image.corrected) > covered_before
            rule = rule_of(image, rules) if is_new else rules.get(image.rule)
            if rule is None:
                continue
            for route in rule.destinations:
                kinds = rule.results_for(route)
                files = files_of.setdefault(route.name, [])
                if is_new and image.state == "done" and self._report_file(route.name) == _DICOM_REPORT:
                    files += self._files(image.results, kinds)
                if image.state == "done" or rule.refusal_reports:
                    refused = is_new and image.state != "done"
                    if "report" in kinds or refused:
                        get_report.add(route.name)
        for name in get_report:
            if (self._store.results_path(report) / (file := self._report_file(name))).exists():
                files_of[name].append(f"{report}/{file}")
        return {name: files for name, files in files_of.items() if files}

    def _report_file(self, destination: str) -> str:
        """The name of the file that a destination gets as the report."""
        peer = self._rules.now.destinations.get(destination)
        return _REPORT_FILES.get("" if peer is None else peer.protocol, _DICOM_REPORT)

    def _files(self, key: str, kinds: Sequence[ResultKind]) -> list[str]:
        folder = self._store.results_path(key)
        return [f"{key}/{kind}.dcm" for kind in kinds if (folder / f"{kind}.dcm").exists()]
