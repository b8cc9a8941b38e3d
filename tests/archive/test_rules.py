"""The rules file: what fits, and what is said of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrserve.archive.matching import Traits
from cxrserve.archive.rules import DEFAULT, Rules, RulesError
from cxrserve.archive.rules_file import load_rules, parse_rules
from cxrserve.cli.main import app

SOUND = """
quiet_time_s: 20
otherwise: ignore
destinations:
  pacs: {protocol: dimse, ae_title: PACS, host: pacs.example, port: 104}
  web: {protocol: stow, url: "https://pacs.example/dicom-web"}
rules:
  - name: emergency
    match: {calling_ae: ER*, modality: [CR, DX]}
    priority: stat
    quiet_time_s: 5
    destinations: [pacs, web]
    results: [report]
  - name: chests
    match: {modality: [cr, dx], body_part: [CHEST, ""], view: ["PA", "AP"], station: "ROOM?"}
"""


def rule_of(rules: Rules, **traits: str) -> str | None:
    """The name of the rule that takes an object with these traits."""
    rule = rules.rule_for(
        Traits(
            modality=traits.get("modality", ""),
            body_part=traits.get("body_part", ""),
            view=traits.get("view", ""),
            station=traits.get("station", ""),
            calling_ae=traits.get("calling_ae", ""),
        )
    )
    return None if rule is None else rule.name


def test_the_first_rule_that_fits_takes_it() -> None:
    rules = parse_rules(SOUND, "rules.yaml")
    chest = {"modality": "DX", "body_part": "CHEST", "view": "PA", "station": "ROOM1"}
    assert rule_of(rules, **chest, calling_ae="ER2") == "emergency"
    assert rule_of(rules, **chest, calling_ae="WARD") == "chests"
    assert rule_of(rules, **{**chest, "body_part": ""}) == "chests"
    assert rule_of(rules, **{**chest, "body_part": "HAND"}) is None
    assert rule_of(rules, **{**chest, "station": "ROOM12"}) is None
    assert rule_of(rules, **{**chest, "modality": "CT"}) is None


def test_a_rule_may_have_a_quiet_time_of_its_own() -> None:
    rules = parse_rules(SOUND, "rules.yaml")
    assert [rules.quiet_s(rule) for rule in rules.rules] == [5, 20]


def test_a_destination_may_have_results_of_its_own() -> None:
    rules = parse_rules(SOUND.replace("web]", "{name: web, results: [overlay]}]"), "rules.yaml")
    rule = rules.rules[0]
    assert {each.name: rule.results_for(each) for each in rule.destinations} == {
        "pacs": ("report",),
        "web": ("overlay",),
    }
    assert rule.made == {"report", "overlay"}


def test_without_a_file_radiographs_are_worked_on_and_stay() -> None:
    assert load_rules(None) is DEFAULT
    assert rule_of(DEFAULT, modality="DX") == "radiographs"
    assert rule_of(DEFAULT, modality="CT") is None
    assert not any(rule.destinations for rule in DEFAULT.rules)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("quiet_time_s: 20", "quiet_time_s: -1", "rules.yaml:2: quiet_time_s: "),
        ("otherwise: ignore", "otherwise: eat", "rules.yaml:3: otherwise: "),
        ("ae_title: PACS", "ae_title: A\\B", "rules.yaml:5: destinations.pacs.ae_title: an AE title"),
        ("port: 104", "prot: 104", "rules.yaml:5: destinations.pacs.prot: "),
        ("https://", "ftp://", "rules.yaml:6: destinations.web.url: "),
        ("priority: stat", "priority: fast", "rules.yaml:10: rules.0.priority: "),
        ("[pacs, web]", "[pacs, attic]", "rule emergency: no destination is called attic"),
        ("[pacs, web]", "[pacs, {name: attic}]", "rule emergency: no destination is called attic"),
        ("[pacs, web]", "[pacs, pacs]", "rule emergency: pacs stands twice among its destinations"),
        ("web]", "{name: web, results: []}]", "rules.yaml:12: rules.0.destinations.1.results: "),
        ("web]", "{name: web, results: [film]}]", "rules.yaml:12: rules.0.destinations.1.results.0: "),
        ("[pacs, web]", "pacs", "rules.yaml:12: rules.0.destinations: "),
        ("name: chests", "name: emergency", "several rules have the name emergency"),
        ("view: [", "viev: [", "rules.yaml:15: rules.1.match.viev: "),
        ("rules:", "rules: [", "this is not YAML"),
    ],
)
def test_a_fault_is_told_with_its_line_and_key(old: str, new: str, said: str) -> None:
    assert old in SOUND
    with pytest.raises(RulesError) as caught:
        parse_rules(SOUND.replace(old, new, 1), "rules.yaml")
    assert said in caught.value.detail


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "a: *b", "x: &x [*x]", "? [a]\n: b", "!!python/object:os.system {}"]
)
def test_what_is_no_rules_file_is_refused(text: str) -> None:
    with pytest.raises(RulesError):
        parse_rules(text, "rules.yaml")


def test_the_command_checks_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(SOUND)
    done = CliRunner().invoke(app, ["pacs", "rules", "check", str(path)])
    assert done.exit_code == 0
    assert "emergency, chests" in done.output
    path.write_text(SOUND.replace("stat", "fast"))
    done = CliRunner().invoke(app, ["pacs", "rules", "check", str(path)])
    assert isinstance(done.exception, RulesError)
