"""The project's Markdown pages, and their links, anchors and code blocks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
README: Final = ROOT / "README.md"


def pages() -> list[Path]:
    """All Markdown files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(path for name in listed.splitlines() if (path := ROOT / name).exists())


def _split(page: Path) -> tuple[str, list[tuple[str, str]]]:
    """The prose of a page, and its fenced code blocks, each with its language ("" if none is named)."""
    prose: list[str] = []
    blocks: list[tuple[str, str]] = []
    inside: list[str] | None = None
    language = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            if inside is None:
                inside, language = [], line.strip().removeprefix("```")
            else:
                blocks.append((language, "".join(f"{text}\n" for text in inside)))
                inside = None
        else:
            (prose if inside is None else inside).append(line)
    return "\n".join(prose), blocks


def code_blocks(page: Path, *languages: str) -> list[str]:
    """The fenced code blocks of these languages; "" is a block without one."""
    return [code for language, code in _split(page)[1] if language in languages]


def shell_lines(page: Path, command: str) -> list[str]:
    """Command lines of a page that begin with `command`; continued lines are joined, comments cut off."""
    lines = "".join(code_blocks(page, "bash", "sh")).replace("\\\n", " ").splitlines()
    return [re.split(r"\s#\s", line)[0].strip() for line in lines if line.split(" ")[0] == command]


def links(page: Path) -> Iterator[str]:
    """Targets of links and pictures that lie in the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _split(page)[0]):
        if not target.startswith(("http://", "https://", "mailto:")):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _split(page)[0], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
