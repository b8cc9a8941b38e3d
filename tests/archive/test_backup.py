"""Backup and restore, as deploy/README.md says: the folder, and the database before it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cxrserve.archive.archive import Archive
from cxrserve.errors import ConfigurationError
from tests.archive.conftest import SENDER, OpenArchive, chest, study_of
from tests.postgres import dump, fresh_database, restore


def contents(archive: Archive, study: str, image: str) -> tuple[bytes, bytes, str]:
    """The content of a study for a user: an image, its answer, and the patient."""
    found = archive.worklist.study(study)
    answer = archive.worklist.answer(study, image)
    stored = archive.worklist.image(study, image)
    assert found is not None
    assert answer is not None
    assert stored is not None
    with stored as file:
        return file.read(), answer, found.patient_id


def test_a_copy_of_the_folder_is_a_backup_on_sqlite(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive")
    receipt = archive.receive(chest(PatientID="P7"), SENDER)
    study_of(archive, receipt)
    before = contents(archive, receipt.study_instance_uid, receipt.sop_instance_uid)
    archive.close()
    shutil.copytree(tmp_path / "archive", tmp_path / "backup")
    shutil.rmtree(tmp_path / "archive")
    restored = open_archive(tmp_path / "backup")
    assert contents(restored, receipt.study_instance_uid, receipt.sop_instance_uid) == before
    assert restored.has(receipt.sop_instance_uid, receipt.sop_class_uid)
    assert restored.receive(chest(), SENDER).outcome == "kept"


def test_a_dump_and_then_the_folder_are_a_backup_on_postgresql(
    open_archive: OpenArchive, postgres_url: str, postgres_cluster: str, tmp_path: Path
) -> None:
    """Taken while the station runs: what came after the dump is missing, and everything else is whole."""
    archive = open_archive(tmp_path / "archive", database_url=postgres_url)
    receipt = archive.receive(chest(PatientID="P7"), SENDER)
    study_of(archive, receipt)
    before = contents(archive, receipt.study_instance_uid, receipt.sop_instance_uid)
    dump(postgres_url, tmp_path / "dump.sql")
    late = archive.receive(chest(), SENDER)
    shutil.copytree(tmp_path / "archive", tmp_path / "backup")
    archive.close()
    empty = fresh_database(postgres_cluster)
    restore(empty, tmp_path / "dump.sql")
    restored = open_archive(tmp_path / "backup", database_url=empty)
    assert contents(restored, receipt.study_instance_uid, receipt.sop_instance_uid) == before
    assert not restored.has(late.sop_instance_uid, late.sop_class_uid)
    with pytest.raises(ConfigurationError, match="belongs to the archive folder"):
        open_archive(tmp_path / "other", database_url=empty)
