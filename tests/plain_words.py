"""Finds docstrings, comments and messages that are not written in plain technical English."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("cxrserve", "training", "tests")

# A first sentence names the thing or says what it does; it does not open with a question word.
QUESTION_WORDS: Final = re.compile(r"(What|Who|How|Where|When|Whose|Whom|Which|Why|Whatever|Whoever)\b")
# Phrases that a reader must read twice; this project's old words for things with a name in the field.
RIDDLES: Final = re.compile(
    r"what is told\b|\btold of(f)?\b|\banew\b|\bso (many|much) bytes\b|\bof late\b|"
    r"\blet(s|ting)? (it |them )?go\b|\bset(s|ting)? (it |them )?aside\b|\b(laid|lays?|puts?) aside\b|"
    r"\bwhose [a-z ]{1,30} is over\b|\bdiffers? not\b|\bknows? not\b|\bit itself\b|\b(not|is|are) judged\b|"
    r"\bfor itself alone\b|\bgoes? its way\b|\bthe door\b|\bthe line['’]s\b|\bthe twin\b",
    re.IGNORECASE,
)


class Offence(NamedTuple):
    """One place whose words are not plain: file and line, the rule it breaks, and the words."""

    path: str
    line: int
    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.words}"


def python_files(root: Path) -> list[Path]:
    """All Python files of the project under `root`, sorted."""
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))


def first_sentence(docstring: str) -> str | None:
    """The first sentence of a docstring, or None where its first paragraph has no sentence with an end."""
    paragraph = " ".join(docstring.strip().partition("\n\n")[0].split())
    match = re.match(r".+?[.!?:](?=\s|$)", paragraph)
    return match.group() if match else None


def opening_offences(root: Path, path: Path) -> Iterator[Offence]:
    """Modules, public classes and public functions of one Python file whose docstring does not open plainly.

    Every module with any code needs a docstring; functions and classes may have none. Of test modules only
    the module's docstring is read: the name of a test is its sentence.
    """
    name = str(path.relative_to(root))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not tree.body:
        return
    if ast.get_docstring(tree) is None:
        yield Offence(name, 1, "no docstring", "the module has none")
    nodes: list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = [tree]
    if not path.name.startswith("test_"):
        nodes += [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and not node.name.startswith("_")
        ]
    for node in nodes:
        docstring = ast.get_docstring(node)
        if docstring is None:
            continue
        line = node.body[0].lineno
        if QUESTION_WORDS.match(docstring):
            yield Offence(name, line, "opens with a question word", docstring.partition("\n")[0])
        elif first_sentence(docstring) is None:
            yield Offence(name, line, "no first sentence", docstring.partition("\n")[0])


def phrase_offences(root: Path, path: Path) -> Iterator[Offence]:
    """Strings (docstrings, messages) and comments of one Python file that hold a riddle phrase."""
    name = str(path.relative_to(root))
    text = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}:
            for match in RIDDLES.finditer(" ".join(token.string.split())):
                line = token.start[0] + token.string[: token.string.find(match.group())].count("\n")
                yield Offence(name, line, "riddle", match.group())


def javascript_offences(root: Path) -> Iterator[Offence]:
    """Leading comments of the viewer's modules and of their exports, checked as docstrings are."""
    for path in sorted((root / "cxrserve" / "viewer" / "js").rglob("*.js")):
        name = str(path.relative_to(root))
        text = path.read_text(encoding="utf-8")
        leading = re.match(r"\s*(?:/\*\*?(?P<block>.*?)\*/|(?P<lines>(?://[^\n]*\n)+))", text, re.DOTALL)
        if leading is None:
            yield Offence(name, 1, "no leading comment", "the module has none")
            continue
        comments = [leading, *re.finditer(r"/\*\*(?P<block>.*?)\*/\s*(?=export)", text, re.DOTALL)]
        for comment in comments:
            groups = comment.groupdict()
            words = re.sub(
                r"^\s*(\*|//)\s?", "", groups["block"] or groups.get("lines") or "", flags=re.MULTILINE
            )
            words = " ".join(words.split())
            line = text[: comment.start()].count("\n") + 1
            if QUESTION_WORDS.match(words):
                yield Offence(name, line, "opens with a question word", words[:80])
        for comment in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL):
            for match in RIDDLES.finditer(" ".join(comment.group().split())):
                yield Offence(name, text[: comment.start()].count("\n") + 1, "riddle", match.group())


def offences(root: Path = ROOT) -> list[Offence]:
    """All offences of the tree under `root`."""
    found: list[Offence] = []
    for path in python_files(root):
        found += opening_offences(root, path)
        if path.name not in {"plain_words.py", "test_plain_words.py"}:  # they quote the phrases
            found += phrase_offences(root, path)
    return [*found, *javascript_offences(root)]
