"""Labels of readers: present, absent or unsure, for a finding of a study, with who and when.

A label is added and never changed; the newest one of a finding counts, and all earlier ones stay readable. No
program uses them by itself: `cxrserve site labels` exports them for `cxrserve site draft` and `check`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.receiving.corrections import locked_study
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import key_of
from cxrserve.archive.storage.tables import LABELS
from cxrserve.archive.views.worklist import Worklist
from cxrserve.bundle.operating_point import Decision
from cxrserve.findings import NAMES
from cxrserve.reports.answer import StudyAnswer
from cxrserve.reports.labels import GivenLabel, Label, StudyLabels, Verdict

_OPPOSITE: Final = {"present": "absent", "absent": "present"}


class Labels:
    """The labels of one archive. Thread-safe."""

    def __init__(self, database: Database, worklist: Worklist) -> None:
        self._database: Final = database
        self._worklist: Final = worklist

    def of(self, study_instance_uid: str) -> StudyLabels | None:
        """All labels of a study; None where nothing of it was received."""
        if self._worklist.study(study_instance_uid) is None:
            return None
        query = sa.select(LABELS).where(LABELS.c.study_key == key_of(study_instance_uid))
        with answering(), self._database.reading() as connection:
            rows = connection.execute(query.order_by(LABELS.c.number)).mappings().all()
        history = [Label.model_validate({**row, "verdict": _verdict(**row)}) for row in rows]
        newest = {label.finding: label for label in history}
        return StudyLabels(
            current=[newest[name] for name in NAMES if name in newest and newest[name].label != "withdrawn"],
            history=history,
            decisions=self._decisions(study_instance_uid),
        )

    def give(
        self, study_instance_uid: str, labels: Sequence[GivenLabel], *, reader: str
    ) -> StudyLabels | None:
        """Add labels, with what the service says of the study now; None where nothing of it was received."""
        answer = self._answer(study_instance_uid)
        said = {} if answer is None else {finding.finding: finding for finding in answer.findings}
        model = "" if answer is None else _model(answer)
        with answering(), self._database.writing() as connection:
            study = locked_study(connection, key_of(study_instance_uid))
            if study is None:
                return None
            last = sa.select(sa.func.coalesce(sa.func.max(LABELS.c.number), 0))
            number = int(connection.execute(last.where(LABELS.c.study_key == study.key)).scalar_one())
            now = time.time()
            for position, given in enumerate(labels, number + 1):
                finding = said.get(given.finding)
                connection.execute(
                    LABELS.insert().values(
                        study_key=study.key,
                        number=position,
                        finding=given.finding,
                        label=given.label,
                        reader=reader,
                        given=now,
                        decision=None if finding is None else finding.decision,
                        probability=None if finding is None else finding.probability,
                        model=model,
                    )
                )
            self._database.touch(connection)
        return self.of(study_instance_uid)

    def _decisions(self, study_instance_uid: str) -> dict[str, Decision]:
        answer = self._answer(study_instance_uid)
        findings = [] if answer is None else answer.findings
        return {each.finding: each.decision for each in findings if each.decision is not None}

    def _answer(self, study_instance_uid: str) -> StudyAnswer | None:
        data = self._worklist.report_file(study_instance_uid, "study.json")
        return None if data is None else StudyAnswer.model_validate_json(data)


def _verdict(*, label: str, decision: str | None, **_: object) -> Verdict | None:
    if label not in _OPPOSITE or decision not in _OPPOSITE:
        return None
    return "agrees" if label == decision else "disagrees"


def _model(answer: StudyAnswer) -> str:
    model = answer.model
    site = f", {model.site}" if model.site else ""
    return f"{model.name} {model.version} {model.sha256}{site}"
