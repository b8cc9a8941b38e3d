"""The commands, examples and links of all Markdown pages work."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
from typer.core import TyperGroup

from cxrserve.cli.main import app
from tests.pages import README, ROOT, anchors, code_blocks, links, pages, shell_lines
from tests.servers import Running

PAGES = pages()
# The quick start and the reference of the API, whose examples are run.
EXAMPLES = [page for page in PAGES if page.name == "README.md" and page.parent.name != "demo"]
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}
# Routes that a service without an archive answers.
ALONE = re.compile(r"/(predict|triage|healthz|readyz|model|metrics|openapi\.json|problems)\b")


def in_pages(*cases: list[str]) -> list[object]:
    """Test parameters, each named for the page that it comes from."""
    return [
        pytest.param(case, id=f"{NAMES[page]}-{number}")
        for page, found in zip(EXAMPLES, cases, strict=True)
        for number, case in enumerate(found)
    ]


@pytest.fixture
def here(tmp_path: Path, chest_dicom: bytes, chest_jpeg: bytes) -> Path:
    """A folder with the files that the examples name."""
    (tmp_path / "chest.dcm").write_bytes(chest_dicom)
    (tmp_path / "chest.jpg").write_bytes(chest_jpeg)
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "phantom_000000.jpg").write_bytes(chest_jpeg)
    (tmp_path / "frontal.dcm").write_bytes(chest_dicom)
    (tmp_path / "lateral.dcm").write_bytes(chest_dicom)
    (tmp_path / "models").symlink_to(ROOT / "models")
    return tmp_path


@pytest.mark.parametrize("code", in_pages(*(code_blocks(page, "python") for page in EXAMPLES)))
def test_python_examples_run(server: Running, here: Path, code: str) -> None:
    code = code.replace("http://127.0.0.1:8000", server.url)
    subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)


def test_the_readme_example_prints_findings_and_writes_a_heatmap(server: Running, here: Path) -> None:
    (code,) = code_blocks(README, "python")
    code = code.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert "Pneumothorax" in done.stdout
    assert (here / "pneumothorax.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("line", in_pages(*(shell_lines(page, "curl") for page in EXAMPLES)))
def test_curl_examples_run(server: Running, here: Path, line: str) -> None:
    path = re.search(r"http://127\.0\.0\.1:8000(/[^\s\"'?]*)", line)
    assert path is not None, line
    if not ALONE.match(path[1]):
        pytest.skip("needs an archive")
    line = line.replace("http://127.0.0.1:8000", server.url).replace("curl", "curl -sf", 1)
    done = subprocess.run(["bash", "-c", line], cwd=here, capture_output=True, check=True)
    if path[1].startswith("/predict") and "-o " not in line and "Accept" not in line:
        assert b'"findings"' in done.stdout


def test_the_answer_in_the_readme_has_the_fields_of_a_real_one(server: Running, chest_jpeg: bytes) -> None:
    (block,) = code_blocks(README, "json")
    shown = json.loads(block)
    answer = httpx.post(f"{server.url}/predict?heatmaps=all", content=chest_jpeg, timeout=60).json()
    finding = answer["findings"][0]
    assert shown.keys() == finding.keys()
    assert shown["heatmap"].keys() == finding["heatmap"].keys()
    assert shown["scales"][0].keys() == finding["scales"][0].keys()


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.findall(r"@[A-Z]{3,}@|\bTODO\b|\bTBD\b", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_every_command_and_option_exists(page: Path) -> None:
    for line in shell_lines(page, "cxrserve"):
        group, (first, *others) = typer.main.get_command(app), line.removeprefix("cxrserve ").split("|")
        words = first.split()
        while isinstance(group, TyperGroup) and words and words[0] in group.commands:
            parent, group = group, group.commands[words.pop(0)]
        assert not isinstance(group, TyperGroup) or group.invoke_without_command, line
        options = {name for parameter in group.params for name in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, line
        assert {other.split()[0] for other in others} <= set(parent.commands), line  # list | show | verify


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_every_module_and_target_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module in re.findall(r"python -m (tests\.[\w.]+\w)", text):
        assert importlib.util.find_spec(module), module
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_every_link_and_anchor_is_there(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_layout_is_the_tree() -> None:
    (layout,) = [block for block in code_blocks(README, "") if block.startswith("cxrserve/")]
    parent = ROOT
    for line in layout.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if not line.startswith(" "):
            parent = ROOT / names[0]
        for name in names:
            folder = parent if line.startswith(" ") else ROOT
            assert (folder / name).exists(), name


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 1400
