"""What the README shows runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import typer
from typer.core import TyperGroup

from cxrserve.cli import app
from tests.servers import Running

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(server: Running, tmp_path: Path, chest_dicom: bytes) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "chest.dcm").write_bytes(chest_dicom)
    here = code.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        [sys.executable, "-c", here], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Pneumothorax" in done.stdout
    assert (tmp_path / "pneumothorax.png").read_bytes().startswith(b"\x89PNG")


def test_the_curl_lines_run(server: Running, tmp_path: Path, chest_dicom: bytes, chest_jpeg: bytes) -> None:
    (tmp_path / "chest.dcm").write_bytes(chest_dicom)
    (tmp_path / "chest.jpg").write_bytes(chest_jpeg)
    lines = re.findall(r"^curl .*$", README, re.MULTILINE)
    assert lines
    for line in lines:
        here = line.replace("http://127.0.0.1:8000", server.url).replace("curl", "curl -sf")
        done = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert '"findings"' in done.stdout


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@[A-Z]+@", README)


def test_every_command_and_option_exists() -> None:
    lines = re.findall(r"^cxrserve (.*)$", README.replace("\\\n", " "), re.MULTILINE)
    assert lines
    for line in lines:
        group, (first, *others) = typer.main.get_command(app), line.partition("#")[0].split("|")
        words = first.split()
        while isinstance(group, TyperGroup) and words[0] in group.commands:
            parent, group = group, group.commands[words.pop(0)]
        assert not isinstance(group, TyperGroup) or group.invoke_without_command, line
        options = {name for parameter in group.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
        assert {other.split()[0] for other in others} <= set(parent.commands), line  # list | show | verify


def test_every_link_and_picture_is_there() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for folder in re.findall(r"^(\w+)/ ", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
