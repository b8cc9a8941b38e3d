"""SIGHUP: the rules are read again; wrong ones change nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import yaml
from pydicom import dcmread

from tests import dcmtk
from tests.pacs.conftest import new_chest
from tests.stations import station


def test_the_rules_are_reloaded_and_wrong_ones_are_not(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    rules = {"quiet_time_s": 3600, "rules": [{"name": "hands", "match": {"body_part": "HAND"}}]}
    with station(tiny_bundle, archive, rules, "--no-http") as running:

        def reload(text: str, line: str) -> None:
            archive.with_suffix(".rules.yaml").write_text(text)
            running.process.send_signal(signal.SIGHUP)
            running.said(line)

        def answer(name: str) -> str:
            file = new_chest(tmp_path / f"{name}.dcm")
            assert dcmread(file).BodyPartExamined == "CHEST"
            return dcmtk.storescu(running.dicom_port, file)

        assert "Success" not in answer("refused")
        reload("rules: [", "the rules were not reloaded, the old ones stay in use: .*not YAML")
        assert "Success" not in answer("still-refused")
        peer = {"protocol": "dimse", "ae_title": "NEW", "host": "127.0.0.1", "port": 104}
        chests = {"quiet_time_s": 3600, "rules": [{"name": "chests", "match": {"body_part": "CHEST"}}]}
        other = yaml.safe_dump(chests | {"destinations": {"new": peer}})
        reload(other, "destinations differ from those at the start. Restart the station")
        assert "Success" not in answer("refused-again")
        reload(yaml.safe_dump(chests), "the rules were reloaded")
        assert "Success" in answer("stored")
