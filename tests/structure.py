"""Counts the shape of the source tree: files, functions, words, import circles, duplicates.

python -m tests.structure                  # this tree
python -m tests.structure --base 37f3df5   # this tree beside another git revision
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.plain_words import ROOT, opening_offences, python_files

# Names that say nothing of what they hold; this project's old words for things with a name in the field.
# Words that are right more often than not are left out: other (__eq__), part (multipart), left (right).
VAGUE: Final = (
    "said found made each one told asked words kept taken given begun judged knows wanted done whole says"
)
OLD: Final = (
    "alone ahead arrival arrivals beat beginning beginnings border chore chores claim claims departure "
    "descent door doubted early envelope film films gauges home keeper letters line material most others "
    "owned owner place places room rooms seen twin twins"
)
DIALECT: Final = frozenset(f"{VAGUE} {OLD}".split())
MIN_DUPLICATE_LINES: Final = 6


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Variables bound by assignment, loop, with, except, import alias, match, walrus; and arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name


def dialect_share(trees: Iterable[ast.AST]) -> tuple[int, int]:
    """Count the bindings that are dialect words, and all bindings."""
    names = [name.strip("_").lower() for tree in trees for name in bound_names(tree)]
    names = [name for name in names if name]
    return sum(name in DIALECT for name in names), len(names)


def functions(trees: Iterable[ast.AST]) -> list[int]:
    """Length in lines of every function and method."""
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def any_parameters(trees: Iterable[ast.AST]) -> int:
    """Parameters typed plain `Any`, the values of **options and dunder methods left out."""
    return sum(
        isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any"
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__")
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    )


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements below a node, without those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _imports(child)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Modules of cxrserve and training, each with those that it imports, inside functions too."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in python_files(root)
        if path.relative_to(root).parts[0] != "tests"
    }
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        targets: set[str] = set()
        for statement in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.Import):
                targets |= {alias.name for alias in statement.names}
            elif statement.level == 0 and statement.module:
                for alias in statement.names:
                    child = f"{statement.module}.{alias.name}"
                    targets.add(child if child in files else statement.module)
        graph[module] = {target for target in targets if target in files and target != module}
    return graph


def folder_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same graph between folders, such as cxrserve.api and training.fit, and top-level modules."""
    folders: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph.items():
        folder = ".".join(module.split(".")[:2])
        folders[folder] |= {".".join(target.split(".")[:2]) for target in targets} - {folder}
    # `import cxrserve` and `import training` ask for the package's name and version, not for a folder.
    return {folder: targets for folder, targets in folders.items() if "." in folder}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of two or more nodes that import each other, by way of others or at once (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group: set[str] = set()
            while node not in group:
                group.add(stack.pop())
            if len(group) > 1:
                groups.append(group)

    for node in graph:
        if node not in index:
            visit(node)
    return groups


def duplicates(paths: Iterable[Path]) -> list[tuple[Path, int, int]]:
    """Runs of six and more lines that stand somewhere else too: file, first line, number of lines.

    Lines are compared without indentation; blank lines, comments and imports are left out. Three lines of a
    run must have more than a bracket or a single word.
    """
    seen: dict[tuple[str, ...], tuple[Path, int]] = {}
    runs: list[tuple[Path, int, int]] = []
    for path in paths:
        lines = [
            (number, text)
            for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if (text := raw.strip()) and not text.startswith(("#", "import ", "from "))
        ]
        last = -1
        for start in range(len(lines) - MIN_DUPLICATE_LINES + 1):
            window = tuple(text for _, text in lines[start : start + MIN_DUPLICATE_LINES])
            if sum(len(re.findall(r"\w+", text)) > 1 for text in window) < 3:
                continue
            if window not in seen:
                seen[window] = (path, start)
                continue
            if seen[window][0] == path and start - seen[window][1] < MIN_DUPLICATE_LINES:
                continue  # a run that overlaps itself
            if start <= last:
                number = runs[-1][2] + start + MIN_DUPLICATE_LINES - 1 - last
                runs[-1] = (*runs[-1][:2], number)
            else:
                runs.append((path, lines[start][0], MIN_DUPLICATE_LINES))
            last = start + MIN_DUPLICATE_LINES - 1
    return runs


def measure(root: Path) -> dict[str, str]:
    """All counts of the tree under `root`, by name, as text for a table."""
    paths = python_files(root)
    source = [path for path in paths if path.relative_to(root).parts[0] != "tests"]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    source_trees = [trees[path] for path in source]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    code = [lengths[path] for path in source if lengths[path]]
    function_lengths = functions(source_trees)
    words, bindings = dialect_share(source_trees)
    all_words, all_bindings = dialect_share(trees.values())
    graph = import_graph(root)
    circle, folder_circle = circles(graph), circles(folder_graph(graph))
    openings = {path: list(opening_offences(root, path)) for path in paths}
    modules = sum(any(offence.line <= 2 for offence in openings[path]) for path in paths)
    anys = any_parameters(source_trees)
    runs, test_runs = duplicates(source), duplicates(set(paths) - set(source))
    readme = (root / "README.md").read_text(encoding="utf-8")
    longest = max(source, key=lambda path: lengths[path])
    return {
        "Python files, cxrserve and training": f"{len(source)}",
        "Python files, tests": f"{len(paths) - len(source)}",
        "lines of a file, median": f"{statistics.median(code):.0f}",
        "lines of a file, longest": f"{lengths[longest]} ({longest.relative_to(root)})",
        "lines of a function, median": f"{statistics.median(function_lengths):.0f}",
        "lines of a function, longest": f"{max(function_lengths)}",
        "functions over 60 lines": f"{sum(length > 60 for length in function_lengths)}",
        "dialect words among bindings": f"{100 * words / bindings:.2f} % ({words} of {bindings})",
        "the same, tests too": f"{100 * all_words / all_bindings:.2f} % ({all_words} of {all_bindings})",
        "modules without a plain first sentence": f"{modules}",
        "docstrings without a plain first sentence": f"{sum(map(len, openings.values()))}",
        "import circles between modules": f"{len(circle)}" + _members(circle),
        "import circles between folders": f"{len(folder_circle)}" + _members(folder_circle),
        "parameters typed Any": f"{anys}",
        "duplicates of six lines and more": f"{len(runs)} ({sum(number for *_, number in runs)} lines)",
        "the same, in tests": f"{len(test_runs)} ({sum(number for *_, number in test_runs)} lines)",
        "words of the README": f"{len(readme.split())}",
    }


def _members(groups: list[set[str]]) -> str:
    return f" ({'; '.join(', '.join(sorted(group)) for group in groups)})" if groups else ""


def measure_revision(revision: str) -> dict[str, str]:
    """The counts of another git revision, unpacked into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        names = ["README.md", "cxrserve", "training", "tests"]
        archive = subprocess.run(
            ["git", "archive", revision, *names], cwd=ROOT, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
        return measure(Path(folder))


def main() -> None:
    """Print the counts as a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", metavar="REVISION", help="git revision to compare with")
    parser.add_argument("--list", action="store_true", help="also list the dialect words and the duplicates")
    arguments = parser.parse_args()
    columns = {"now": measure(ROOT)}
    if arguments.base:
        columns = {arguments.base: measure_revision(arguments.base)} | columns
    table = [
        f"|  | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
        *(
            f"| {name} | {' | '.join(column[name] for column in columns.values())} |"
            for name in columns["now"]
        ),
    ]
    sys.stdout.write("\n".join(table) + "\n")
    if arguments.list:
        for line in _details():
            sys.stdout.write(line + "\n")


def _details() -> Iterator[str]:
    paths = [path for path in python_files(ROOT) if path.relative_to(ROOT).parts[0] != "tests"]
    for path in paths:
        counts: dict[str, int] = defaultdict(int)
        for name in bound_names(ast.parse(path.read_text(encoding="utf-8"))):
            if name.strip("_").lower() in DIALECT:
                counts[name] += 1
        if counts:
            yield f"{path.relative_to(ROOT)}: {', '.join(f'{name} × {n}' for name, n in counts.items())}"
    for path, first, number in duplicates(paths):
        yield f"{path.relative_to(ROOT)}:{first}: {number} lines stand elsewhere too"


if __name__ == "__main__":
    main()
