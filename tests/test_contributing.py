"""The files for contributors do not rot: what they name exists, and what they run is what CI runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
GUIDE = GITHUB / "CONTRIBUTING.md"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
# https://docs.github.com/communities: the elements of an issue form, and what each must have.
ELEMENTS = {
    "markdown": {"value"},
    "textarea": {"label"},
    "input": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}


def _yaml(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def test_the_guide_is_short_and_names_what_exists() -> None:
    text = GUIDE.read_text("utf-8")
    assert len(text.splitlines()) < 60
    named = set(re.findall(r"`((?:\.?[\w-]+/)*\.?[\w-]+(?:\.[a-z]+)?/?)`", text))
    paths = {name for name in named if "/" in name or Path(name).suffix}
    assert {"deploy/SETTINGS.md", "tests/radiographs.py", ".ci/run"} <= paths
    missing = {name for name in paths if not (ROOT / name).exists() and name != "__init__.py"}
    assert not missing


def test_the_targets_that_the_guide_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in (GUIDE, GITHUB / "pull_request_template.md"):
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
        assert named, page
        assert named <= targets


def test_the_workflow_runs_what_must_pass() -> None:
    workflow = _yaml(GITHUB / "workflows" / "ci.yml")
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == ".ci/run"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100, "it can be run"
    assert workflow["permissions"] == {"contents": "read"}
    assert {"push", "pull_request"} == set(workflow[True])  # YAML 1.1 takes `on` for true
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert job["container"].startswith(f"python:{project['requires-python'].removeprefix('>=')}-")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_is_one_that_the_host_shows(form: Path) -> None:
    content = _yaml(form)
    assert {"name", "description", "body"} <= set(content)
    ids = [element["id"] for element in content["body"] if element["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for element in content["body"]:
        assert ELEMENTS[element["type"]] <= set(element["attributes"])


def test_there_is_a_form_for_bugs_that_asks_for_no_patient_data() -> None:
    assert [form.stem for form in FORMS] == ["bug", "feature"]
    assert "no patient data" in (GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text("utf-8")


def test_the_hooks_run_tools_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (repo,) = _yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local", "the versions are those of the project"
    for hook in repo["hooks"]:
        program, *arguments = hook["entry"].split()
        name = program.removeprefix(".venv/bin/")
        assert f"$(BIN)/{name}" in makefile or name == "npm", hook["id"]
        for path in (argument for argument in arguments if argument.startswith("tests/")):
            assert (ROOT / path).exists()


def test_editors_use_the_line_length_of_the_linter() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]
    assert f"max_line_length = {ruff['line-length']}\n" in (ROOT / ".editorconfig").read_text("utf-8")
