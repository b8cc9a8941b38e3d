"""A database that several nodes share belongs to one archive folder; a node with another does not start."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import psycopg
import pytest

from cxrserve.archive.storage.database import Database, sqlalchemy_url
from cxrserve.archive.storage.identity import FILE, check_archive_identity
from cxrserve.errors import ConfigurationError
from tests.archive.conftest import SENDER, OpenArchive, chest
from tests.postgres import fresh_database


def opened(folder: Path, url: str) -> str:
    """What a start does first; the identity of the folder."""
    folder.mkdir(exist_ok=True)
    index = Database(sqlalchemy_url(url, folder / "unused.db"), timeout_s=10)
    try:
        check_archive_identity(folder, index)
    finally:
        index.close()
    return (folder / FILE).read_text().strip()


def test_an_archive_with_objects(open_archive: OpenArchive, tmp_path: Path, postgres_url: str) -> None:
    archive = open_archive(tmp_path / "shared", database_url=postgres_url, node_name="first")
    receipt = archive.receive(chest(), SENDER)
    archive.close()
    with pytest.raises(ConfigurationError) as refused:
        open_archive(tmp_path / "local", database_url=postgres_url, node_name="second")
    said = refused.value.detail
    assert f"belongs to the archive folder {tmp_path / 'shared'} on " in said
    assert f"{tmp_path / 'local'} bears no identity" in said
    assert not (tmp_path / "local" / "objects").exists(), "nothing is begun in a folder that is another's"

    # as a version left it that knew no identities
    (tmp_path / "shared" / FILE).unlink()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE cxrserve_home")
    with pytest.raises(ConfigurationError, match=r"names objects, and the archive folder .* holds none"):
        opened(tmp_path / "local", postgres_url)
    adopted = open_archive(tmp_path / "shared", database_url=postgres_url, node_name="first")
    assert adopted.has(receipt.sop_instance_uid, receipt.sop_class_uid)
    assert uuid.UUID((tmp_path / "shared" / FILE).read_text().strip())


def test_nodes_with_one_folder_pass(tmp_path: Path, postgres_url: str) -> None:
    assert opened(tmp_path / "shared", postgres_url) == opened(tmp_path / "shared", postgres_url)


def test_the_folder_of_another_archive_is_refused(
    tmp_path: Path, postgres_cluster: str, postgres_url: str
) -> None:
    opened(tmp_path / "own", postgres_url)
    opened(tmp_path / "other", fresh_database(postgres_cluster))
    with pytest.raises(ConfigurationError, match="other is that of another archive"):
        opened(tmp_path / "other", postgres_url)


def test_a_folder_may_move_and_be_restored(tmp_path: Path, postgres_url: str) -> None:
    identity = opened(tmp_path / "old", postgres_url)
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert opened(tmp_path / "new", postgres_url) == identity
    (tmp_path / "new" / FILE).unlink()  # a backup of the objects alone
    with pytest.raises(ConfigurationError) as refused:
        opened(tmp_path / "new", postgres_url)
    assert f"write {identity} into {tmp_path / 'new' / FILE}" in refused.value.detail
    (tmp_path / "new" / FILE).write_text(identity)  # as it says
    assert opened(tmp_path / "new", postgres_url) == identity


def test_a_start_that_ended_between_file_and_row_goes_on(tmp_path: Path, postgres_url: str) -> None:
    identity = str(uuid.uuid4())
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / FILE).write_text(identity)
    assert opened(tmp_path / "archive", postgres_url) == identity
    assert opened(tmp_path / "archive", postgres_url) == identity


def test_a_file_that_is_no_text_is_said(tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="it is no text"):
        opened(tmp_path / "archive", postgres_url)
