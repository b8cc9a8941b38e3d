"""A decoder that fails for the machine's sake refuses no image: work that can wait tries again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from cxrserve.archive.archive import Archive
from cxrserve.archive.jobs import read_image as reader
from cxrserve.archive.storage.tables import OBJECTS
from cxrserve.pipeline.pipeline import Pipeline
from tests.archive.conftest import SENDER, chest, study_of
from tests.conftest import MakeSettings
from tests.waiting import until


def opened(folder: Path, pipeline: Pipeline, make_settings: MakeSettings) -> Archive:
    rules = folder.with_suffix(".yaml")
    rules.write_text(yaml.safe_dump({"quiet_time_s": 0.5, "rules": [{"name": "all"}]}))
    settings = make_settings(archive=folder, rules=rules, archive_min_free_bytes=1, delivery_max_pause_s=0.2)
    return Archive.open(settings, pipeline, {})


def test_a_decoder_that_stood_still_costs_only_time(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where processes were killed while they read the image, which says nothing of its decoder."""
    monkeypatch.setattr(reader, "DECODER_TRIES", 3)
    with Pipeline(make_settings(decode_timeout_s=1.0)) as pipeline:
        (worker,) = pipeline.worker_pids()
        with opened(tmp_path / "archive", pipeline, make_settings) as archive:
            os.kill(worker, signal.SIGSTOP)  # as a machine in need does it: nothing answers in time
            receipt = archive.receive(chest(), SENDER)
            with archive._database.writing() as connection:
                connection.execute(OBJECTS.update().values(tries=3))
            found = study_of(archive, receipt)
    assert found.state == "done"
    assert [image.state for image in found.images] == ["done"]


def test_an_image_that_no_decoder_ends_is_refused_after_some_tries(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "DECODER_TRIES", 3)
    with (
        Pipeline(make_settings(decode_timeout_s=0.001)) as pipeline,
        opened(tmp_path / "archive", pipeline, make_settings) as archive,
    ):
        receipt = archive.receive(chest(rows=2000, columns=2000), SENDER)
        found = until(lambda: study_of(archive, receipt, "refused"))
    assert found.images[0].problem is not None
    assert found.images[0].problem.slug == "unreadable-image"
