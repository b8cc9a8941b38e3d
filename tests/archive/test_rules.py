"""The rules file: what fits, and what is said of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrserve.archive.matching import Traits
from cxrserve.archive.peers import WorklistPeer
from cxrserve.archive.rules import DEFAULT, CurrentRules, Rules, RulesError
from cxrserve.archive.rules_file import load_rules, parse_rules
from cxrserve.cli.main import app

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "rules.example.yaml"
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


@pytest.mark.parametrize(
    ("worklist", "words"),
    [
        ("url: https://ris.example/ups, images: archive", "a worklist needs `code` or `label`"),
        (
            "url: https://ris.example/ups, images: pacs, label: AI",
            "no server is called pacs; there is: archive",
        ),
        ("url: https://ris.example/ups, images: archive, label: AI, every: 5", "no such key; is it every_s?"),
    ],
)
def test_a_worklist_names_its_workitems_and_the_server_of_their_images(worklist: str, words: str) -> None:
    text = f"""{SOUND}
servers: {{archive: {{url: "https://pacs.example/dicom-web"}}}}
worklists:
  chest: {{{worklist}}}
"""
    with pytest.raises(RulesError) as refused:
        parse_rules(text, "rules.yaml")
    assert words in refused.value.detail


def test_the_worklist_of_the_example_is_sound() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    start = lines.index("# worklists:")
    block = [line.removeprefix("# ") for line in lines[start : lines.index("", start)]]
    assert any("# every_s" in line for line in block)
    block = [line.replace("# ", "", 1) if line.strip().startswith("# ") else line for line in block]
    text = "\n".join(line for line in block if "token_file" not in line)
    servers = 'servers: {archive: {url: "https://pacs.example/dicom-web"}}'
    (worklist,) = parse_rules(f"{SOUND}{servers}\n{text}\n", "rules.yaml").worklists.values()
    for name in ("station", "every_s", "at_once", "images_within_s"):
        assert name in worklist.model_fields_set
    defaults = WorklistPeer(url="http://pacs", label="AI", images="archive")
    assert (worklist.every_s, worklist.at_once, worklist.images_within_s) == (
        defaults.every_s,
        defaults.at_once,
        defaults.images_within_s,
    )


def test_other_worklists_need_a_restart() -> None:
    current = CurrentRules(parse_rules(SOUND, "rules.yaml"))
    worklists = """
servers: {archive: {url: "https://pacs.example/dicom-web"}}
worklists: {ai: {url: "https://ris.example/ups", images: archive, label: AI}}
"""
    with_server = current.now.model_copy(update={"servers": parse_rules(SOUND + worklists, "").servers})
    current.replace(parse_rules(SOUND, "rules.yaml"))
    current.now = with_server
    with pytest.raises(RulesError, match="worklists differ from those at the start"):
        current.replace(parse_rules(SOUND + worklists, "rules.yaml"))
