"""`cxrserve pacs queue release`, `move`, `drop` and `reassign`: a person decides whose an image is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cxrserve.cli.options import SetOption, settings_of
from cxrserve.cli.queue import ArchiveOption

if TYPE_CHECKING:
    from cxrserve.archive.receiving.decisions import Decisions

ObjectsArgument = Annotated[
    list[str],
    typer.Argument(metavar="SHA256…", help="As `quarantine` prints them, or their first characters."),
]
RulesOption = Annotated[Path | None, typer.Option(help="Rules of the station; it must use the same.")]


@contextmanager
def _decisions(
    archive: Path | None, rules: Path | None, assignments: list[str] | None
) -> Iterator[Decisions]:
    from cxrserve.archive.receiving.decisions import Decisions
    from cxrserve.audit.trail import open_trail

    settings = settings_of(assignments, archive=archive, rules=rules)
    with open_trail(settings, is_service=False), Decisions(settings) as decisions:
        yield decisions


def release(
    objects: ObjectsArgument,
    archive: ArchiveOption = None,
    rules: RulesOption = None,
    assignments: SetOption = None,
) -> None:
    """Take in quarantined objects as they are: their study is corrected after them, and analysed again."""
    with _decisions(archive, rules, assignments) as decisions:
        for digest in objects:
            decisions.release(digest)
    Console().print(f"{len(objects)} objects were released; the corrected results will be sent")


def move(
    objects: ObjectsArgument,
    archive: ArchiveOption = None,
    rules: RulesOption = None,
    assignments: SetOption = None,
) -> None:
    """Take in quarantined objects under the patient that their study has."""
    with _decisions(archive, rules, assignments) as decisions:
        for digest in objects:
            decisions.move(digest)
    Console().print(f"{len(objects)} objects were moved to the patient of their study")


def drop(
    objects: ObjectsArgument,
    archive: ArchiveOption = None,
    rules: RulesOption = None,
    assignments: SetOption = None,
) -> None:
    """Delete quarantined objects for good."""
    with _decisions(archive, rules, assignments) as decisions:
        for digest in objects:
            decisions.drop(digest)
    Console().print(f"{len(objects)} objects were dropped")


def reassign(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.")],
    patient_id: Annotated[str, typer.Option(help="The right Patient ID.")] = "",
    issuer: Annotated[str, typer.Option(help="Issuer of this ID.")] = "",
    patient_name: Annotated[str, typer.Option(help="As in DICOM: Family^Given.")] = "",
    accession_number: Annotated[str, typer.Option(help="The right order.")] = "",
    birth_date: Annotated[str, typer.Option(help="YYYYMMDD.")] = "",
    sex: Annotated[str, typer.Option(help="M, F or O.")] = "",
    archive: ArchiveOption = None,
    rules: RulesOption = None,
    assignments: SetOption = None,
) -> None:
    """Move a stored study to another patient or order. The corrected results are sent to its destinations."""
    from cxrserve.reports.dicom.patient import Patient

    if not any((patient_id, patient_name, accession_number, birth_date, sex)):
        raise typer.BadParameter("give at least one of --patient-id, --patient-name, --accession-number")
    patient = Patient(
        patient_id=patient_id,
        issuer=issuer,
        name=patient_name,
        accession_number=accession_number,
        birth_date=birth_date,
        sex=sex,
    )
    with _decisions(archive, rules, assignments) as decisions:
        decisions.reassign(study, patient)
    Console().print("the study was moved; the corrected results will be sent")
