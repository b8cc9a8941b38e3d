"""The report of an image that was not analysed: sent unless a rule says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.archive.conftest import SENDER, OpenArchive, Peer, chest, study_of
from tests.waiting import until


@pytest.mark.parametrize(("setting", "reports"), [({}, 1), ({"refusal_reports": False}, 0)])
def test_a_rule_can_keep_reports_of_refused_images_from_its_destinations(
    open_archive: OpenArchive, tmp_path: Path, setting: dict[str, Any], reports: int
) -> None:
    peer, study = Peer(), generate_uid()
    rule = {"name": "all", "destinations": ["peer"], **setting}
    archive = open_archive(tmp_path / "archive", peer, {"rules": [rule]})
    refused = archive.receive(chest(study, PresentationIntentType="FOR PROCESSING"), SENDER)
    assert study_of(archive, refused).state == "refused"
    until(lambda: not archive.jobs.jobs() or None)
    assert len(peer.of("SR")) == reports
    archive.receive(chest(study), SENDER)
    until(lambda: len(peer.of("SR")) == reports + 1)
    assert "was not analysed" in peer.of("SR")[-1].to_json(), "a report that is sent names all images"
