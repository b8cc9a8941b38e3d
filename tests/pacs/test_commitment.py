"""Reports of Storage Commitment are durable jobs: one report each, of several nodes too, and never lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]
from typer.testing import CliRunner

from cxrserve.archive.archive import Archive
from cxrserve.archive.destination import CommitmentRequest
from cxrserve.archive.jobs.queue import DurableQueue
from cxrserve.archive.jobs.retries import RetryPolicy
from cxrserve.archive.storage.tables import JOBS
from cxrserve.cli.main import app
from cxrserve.pacs.commitment import ReportSender
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.settings import Settings
from tests.conftest import MakeSettings
from tests.orthanc import free_port
from tests.postgres import fresh_database, postgres
from tests.waiting import until

_TAKES_S = 0.5
COMMITMENTS = JOBS.c.kind == "commitment"


@contextmanager
def modality(
    on_report: Callable[[str], None], port: int | None = None, status: int = 0x0000
) -> Iterator[int]:
    """A peer that takes a while for each report; its port."""

    def report(event: Event) -> tuple[int, None]:
        on_report(str(event.event_information.TransactionUID))
        time.sleep(_TAKES_S)
        return status, None

    entity, port = AE("MODALITY"), port or free_port()
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        yield port
    finally:
        entity.shutdown()


@pytest.fixture(scope="module")
def postgres_cluster() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def settings(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    return make_settings(archive=tmp_path / "archive", archive_min_free_bytes=1)


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[Pipeline]:
    with Pipeline(settings) as opened:
        yield opened


def request_to(port: int, transaction: str) -> CommitmentRequest:
    return CommitmentRequest(
        ae_title="MODALITY",
        host="127.0.0.1",
        port=port,
        transaction_uid=transaction,
        objects=(("1.2", "3.4"),),
    )


def test_of_several_nodes_one_reports(
    settings: Settings, make_settings: MakeSettings, postgres_cluster: str
) -> None:
    url, reported = fresh_database(postgres_cluster), list[str]()
    with modality(reported.append) as port, ExitStack() as running:
        archives = []
        for name in ("a", "b", "c"):
            own = settings.model_copy(
                update={"database_url": make_settings(database_url=url).database_url, "node_name": name}
            )
            pipeline = running.enter_context(Pipeline(own))
            archives.append(running.enter_context(Archive.open(own, pipeline, {}, ReportSender(own))))
        for archive, transaction in zip(archives, ("1.1", "1.2", "1.3"), strict=True):
            archive.request_commitment(request_to(port, transaction))
        until(lambda: not archives[0].jobs.jobs())
        time.sleep(2 * _TAKES_S)
    assert sorted(reported) == ["1.1", "1.2", "1.3"]


def test_a_report_that_a_dead_process_had_claimed_is_sent(settings: Settings, pipeline: Pipeline) -> None:
    reported: list[str] = []
    with modality(reported.append) as port:
        with Archive.open(settings, pipeline, {}) as archive:  # without a reporter nobody takes the job
            archive.request_commitment(request_to(port, "1.1"))
            (job,) = archive.jobs.jobs("waiting")
            assert (job.kind, job.destination, job.attempts) == ("commitment", "MODALITY", 0)
            policy = RetryPolicy(max_pause_s=1, give_up_s=1)
            (claimed,) = DurableQueue(archive._database, "cxrserve", policy).claim(COMMITMENTS, 9)
        with Archive.open(settings, pipeline, {}, ReportSender(settings)) as archive:
            until(lambda: reported)
            until(lambda: not archive.jobs.jobs())
            assert DurableQueue(archive._database, "cxrserve", policy).end(claimed, None) is None
    assert reported == ["1.1"]


def test_a_report_that_nobody_takes_is_a_dead_letter(make_settings: MakeSettings, tmp_path: Path) -> None:
    folder, port, reported = tmp_path / "archive", free_port(), list[str]()
    settings = make_settings(
        archive=folder, archive_min_free_bytes=1, delivery_give_up_s=0.2, delivery_max_pause_s=0.1
    )
    with (
        Pipeline(settings) as pipeline,
        Archive.open(settings, pipeline, {}, ReportSender(settings)) as archive,
    ):
        with modality(lambda _: None, port, status=0x0110):
            archive.request_commitment(request_to(port, "1.1"))
            until(lambda: archive.jobs.jobs("dead"))
        listed = CliRunner().invoke(
            app, ["pacs", "queue", "list", "--archive", str(folder)], env={"COLUMNS": "200"}
        )
        assert "commitment" in listed.output
        assert "dead" in listed.output
        (family,) = [
            each for each in pipeline.metrics.registry.collect() if each.name == "cxrserve_archive_jobs"
        ]
        figures = {(each.labels["kind"], each.labels["state"]): each.value for each in family.samples}
        assert figures["commitment", "dead"] == 1
        with modality(reported.append, port):
            assert archive.jobs.retry() == 1
            until(lambda: not archive.jobs.jobs())
    assert reported == ["1.1"]
