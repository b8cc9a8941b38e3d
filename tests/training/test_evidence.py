"""Evidence documents are valid in their formats, and every number in them stands in report.json."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from lxml import etree
from referencing import Registry, Resource
from typer.testing import CliRunner

from cxrserve.bundle.contract import read_contract
from cxrserve.cli.main import app
from cxrserve.errors import BundleError, RequestError
from training.evidence.card import with_front_matter
from training.evidence.chai import NAMESPACE
from training.evidence.figures import at, read_evidence
from training.evidence.words import NOT_SAID, read_words

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"
SCHEMAS = Path(__file__).with_name("schemas")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's contract and report in a folder of their own, with all documents beside them."""
    folder = tmp_path_factory.mktemp("evidence")
    for name in ("bundle.json", "README.md"):
        (folder / name).write_bytes((DEMO / name).read_bytes())
    report = json.loads((DEMO / "report.json").read_text()) | {"sha256": read_contract(folder)[1]}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "card.yaml").write_text("developer: The project\nintended_users: Researchers\n")
    arguments = ["models", "evidence", str(folder), "--words", str(folder / "card.yaml")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return folder


def report_of(bundle: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((bundle / "report.json").read_text())
    return report


def test_the_model_card_is_valid_and_every_number_is_traced(bundle: Path) -> None:
    schema = etree.XMLSchema(etree.parse(SCHEMAS / "chai_v0.2.xsd"))
    card = etree.parse(bundle / "evidence" / "model-card.xml")
    schema.assertValid(card)
    report, traced = report_of(bundle), 0
    for value in card.iterfind(f".//{{{NAMESPACE}}}ValueJson"):
        content = json.loads(value.text or "")
        if content["kind"] == "none":
            continue
        place = at(report, content["source"].removeprefix("report.json#"))
        if content["kind"] == "single":
            assert content["value"] == (place["value"] if isinstance(place, dict) else place)
        else:
            assert (content["estimate"], content["lower"], content["upper"]) == (
                place["value"],
                place["low"],
                place["high"],
            )
        traced += 1
    assert traced == 3 * 14
    text = etree.tostring(card, encoding="unicode")
    assert "<ModelDeveloper>The project</ModelDeveloper>" in text
    assert f"<FundingSource>{NOT_SAID}</FundingSource>" in text, "what nobody has said is not made up"


def test_the_bill_of_materials_is_valid_and_every_number_is_traced(bundle: Path) -> None:
    folder = files("cyclonedx.schema") / "_res"
    registry: Registry[Any] = Registry()
    for name in ("spdx", "jsf-0.82"):
        content = json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
        registry = registry.with_resource(content["$id"], Resource.from_contents(content))
    schema = json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_text())
    bom = json.loads((bundle / "evidence" / "bom.json").read_text())
    assert [error.message for error in Draft7Validator(schema, registry=registry).iter_errors(bom)] == []
    report = report_of(bundle)
    metrics = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert len(metrics) == 3 * 14
    for metric in metrics:
        place = at(report, metric["type"].partition("#")[2].rstrip(")"))
        value = place["value"] if isinstance(place, dict) else place
        assert metric["value"] == str(value)
        interval = metric.get("confidenceInterval")
        if interval:
            assert interval == {"lowerBound": str(place["low"]), "upperBound": str(place["high"])}
    contract, sha256 = read_contract(bundle)
    hashes = {
        part["name"]: part["hashes"][0]["content"] for part in bom["components"] if part["type"] != "data"
    }
    assert {member.file: member.sha256 for member in contract.members}.items() <= hashes.items()
    assert bom["metadata"]["component"]["hashes"][0]["content"] == sha256
    broken = bom | {"specVersion": 3}
    assert list(Draft7Validator(schema, registry=registry).iter_errors(broken)), "the schema does check"


def test_the_front_matter_parses_and_every_number_is_traced(bundle: Path) -> None:
    page = (bundle / "README.md").read_text()
    _, matter, rest = page.split("---\n", 2)
    content = yaml.safe_load(matter)
    (index,) = content["model-index"]
    report = report_of(bundle)
    for result in index["results"]:
        (metric,) = result["metrics"]
        place = at(report, metric["name"].partition("#")[2].rstrip(")"))
        assert metric["value"] == (place["value"] if isinstance(place, dict) else place)
    assert rest.strip() == without_front_matter((DEMO / "README.md").read_text()).strip()
    again = with_front_matter(page, "---\nnew: 1\n---\n")
    assert again.startswith("---\nnew: 1\n---\n")
    assert again.endswith(rest)


def without_front_matter(page: str) -> str:
    return page.split("---\n", 2)[2] if page.startswith("---\n") else page


def test_checklists_name_places_that_are_there(bundle: Path) -> None:
    page = (bundle / "evidence" / "checklists.md").read_text()
    report, contract = report_of(bundle), json.loads((bundle / "bundle.json").read_text())
    rows = [
        line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "subject" not in line
    ]
    assert len(rows) > 40
    for row in rows:
        where = row[2].removesuffix(" |")
        if where.startswith("report.json, "):
            assert where.removeprefix("report.json, ") in report
        if where.startswith("bundle.json, lineage."):
            field = where.removeprefix("bundle.json, lineage.").split()[0].rstrip(";")
            assert field in contract["lineage"]


def test_a_report_of_another_bundle_or_unknown_words_are_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes((bundle / "bundle.json").read_bytes())
    with pytest.raises(BundleError, match=r"has no report.json"):
        read_evidence(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps(report_of(bundle) | {"sha256": "ab" * 32}))
    with pytest.raises(BundleError, match="measures the bundle abab"):
        read_evidence(tmp_path)
    (tmp_path / "card.yaml").write_text("founder: nobody\n")
    with pytest.raises(RequestError, match="founder: Extra inputs"):
        read_words(tmp_path / "card.yaml")
