"""The archive's metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cxrserve.archive.storage.database import Database, sqlalchemy_url
from cxrserve.archive.storage.files import Store
from cxrserve.archive.views.metrics import ArchiveMetrics
from cxrserve.pipeline.pipeline import Pipeline
from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest
from tests.waiting import until


def told(pipeline: Pipeline) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and its labels' values in the order of the labels' names."""
    said = generate_latest(pipeline.metrics.registry).decode()
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def test_work_dead_letters_and_quarantine_are_told(
    open_archive: OpenArchive, pipeline: Pipeline, tmp_path: Path
) -> None:
    before = told(pipeline).get(("cxrserve_received_total", "kept", "dimse"), 0)
    peer = Peer()
    peer.error = away(retryable=False)
    archive = open_archive(tmp_path / "archive", peer)
    empty = told(pipeline)
    assert empty["cxrserve_archive_jobs", "delivery", "dead"] == 0
    assert empty["cxrserve_archive_oldest_job_seconds", "study"] == 0
    receipt = archive.receive(chest(SOPInstanceUID="1.2.3.4"), SENDER)
    archive.receive(chest(SOPInstanceUID="1.2.3.4", PatientID="another"), SENDER)
    until(lambda: archive.jobs.jobs("dead"))
    found = told(pipeline)
    assert found["cxrserve_archive_database_up",] == 1
    assert found["cxrserve_archive_jobs", "delivery", "dead"] == 1
    assert found["cxrserve_archive_jobs", "study", "waiting"] == 0
    assert found["cxrserve_archive_quarantined",] == 1
    assert found["cxrserve_archive_free_bytes",] > 0
    assert found["cxrserve_received_total", "kept", "dimse"] == before + 1
    archive.jobs.retry()
    until(lambda: told(pipeline)["cxrserve_archive_oldest_job_seconds", "delivery"] > 0)
    assert found["cxrserve_deliveries_total", "peer", "dead"] >= 1
    peer.error = None
    archive.jobs.retry()
    until(lambda: told(pipeline).get(("cxrserve_deliveries_total", "peer", "done")))
    assert receipt.sop_instance_uid not in str(found)
    archive.close()
    assert ("cxrserve_archive_database_up",) not in told(pipeline), "a closed archive says nothing"


def test_a_database_that_is_away_is_told(tmp_path: Path) -> None:
    index = Database(sqlalchemy_url("", tmp_path / "index.db"), timeout_s=1)
    gauges = ArchiveMetrics(Store(tmp_path / "archive", "node"), index)
    try:
        assert {family.name for family in gauges.collect()} > {"cxrserve_archive_jobs"}
        with index.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE cxrserve_jobs RENAME TO gone")
        families = {family.name: family for family in gauges.collect()}
    finally:
        index.close()
    assert "cxrserve_archive_jobs" not in families
    assert families["cxrserve_archive_database_up"].samples[0].value == 0
    assert families["cxrserve_archive_free_bytes"].samples[0].value > 0
