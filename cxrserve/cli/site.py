"""`cxrserve site …`: adopts a bundle at one hospital, on its own films."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxrserve.cli import site_labels
from cxrserve.cli.options import EngineOption, SetOption, settings_of

site = typer.Typer(
    help="The site file: calibration, operating points and watch reference of one hospital.",
    no_args_is_help=True,
)
site.command("labels")(site_labels.export)

FilmsArgument = Annotated[Path, typer.Argument(help="Folder of the hospital's films; DICOM, JPEG or PNG.")]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="CSV with the columns `file`, `patient`, `station` and findings: 1, 0 or empty."),
]


@site.command("draft")
def draft_site(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    films: FilmsArgument,
    name: Annotated[str, typer.Option(help="Name of the hospital; the previous version's by default.")] = "",
    labels: LabelsOption = None,
    out: Annotated[Path, typer.Option(help="The site file to write.")] = Path("site.json"),
    previous: Annotated[Path | None, typer.Option(help="The version before this one.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Operating point: FINDING:sensitivity=0.95 or specificity.")
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(help="Rule-out and rule-in: FINDING:missed=0.05,ppv=0.5, each with 95 % confidence."),
    ] = None,
    prevalence: Annotated[
        list[str] | None, typer.Option(help="Known prevalence, instead of labels: FINDING=0.12.")
    ] = None,
    station: Annotated[
        list[str] | None, typer.Option(help="A station and its senders: NAME=AE_TITLE,AE_TITLE,CLIENT.")
    ] = None,
    note: Annotated[str, typer.Option(help="A note for whoever reads the file.")] = "",
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Write a site file from films: with labels calibration and points, and the reference of the watch.

    Half of the patients fit, the other half decides whether what was fitted is adopted. The service takes
    the file with CXRSERVE_SITE at its next start.
    """
    from cxrserve.cli.site_films import read_films
    from cxrserve.errors import RequestError
    from cxrserve.files import write_atomically
    from cxrserve.site.draft import Wishes, draft
    from cxrserve.site.file import read_site, site_bytes
    from cxrserve.site.labels import read_labels
    from cxrserve.site.pairs import parse_pair
    from cxrserve.site.points import parse_target

    if out.exists():
        raise typer.BadParameter(f"--out {out} is there already; a version is never overwritten")
    before = None if previous is None else read_site(previous)
    wishes = Wishes(
        name=name or (before[0].name if before else ""),
        note=note,
        targets={_finding(index): wish for index, wish in map(parse_target, target or [])},
        pairs={_finding(index): wish for index, wish in map(parse_pair, pair or [])},
        prevalences=dict(_prevalence(text) for text in prevalence or []),
        stations=dict(_station(text) for text in station or []) or (before[0].stations if before else {}),
        previous=before,
    )
    if not wishes.name:
        raise typer.BadParameter("--name: give the hospital's name")
    table = None if labels is None else read_labels(labels)
    if table is None and (wishes.targets or wishes.pairs):
        raise RequestError(
            "--target and --pair need --labels: operating points are measured on labelled films"
        )
    read = read_films(films, settings_of(assignments, bundle=bundle, engine=engine), table)
    result, notes = draft(read.films, read.contract, read.bundle_sha256, read.arithmetic, wishes)
    write_atomically(out, site_bytes(result), mode=0o644)
    console = Console(soft_wrap=True)
    _print_outcomes(console, [(o.finding, o.adopted, o.films, o.events, o.why) for o in result.evidence])
    for text in notes:
        console.print(f"note: {text}", markup=False)
    console.print(f"{result.label} is written to {out}: CXRSERVE_SITE={out}", markup=False)


@site.command("check")
def check_site(
    file: Annotated[Path, typer.Argument(help="The site file.")],
    films: FilmsArgument,
    labels: Annotated[
        Path, typer.Option(help="CSV of labels, as for draft; later films than those of draft.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for report.html and report.json.")] = Path("acceptance"),
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle.", envvar="CXRSERVE_BUNDLE")
    ] = None,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Measure a site file on labelled films: the local acceptance test, and concordance with later labels."""
    from cxrserve.cli.site_films import read_films
    from cxrserve.files import write_atomically
    from cxrserve.site.check import check, page
    from cxrserve.site.file import check_binding, read_site
    from cxrserve.site.labels import read_labels

    made, sha256 = read_site(file)
    table = read_labels(labels)
    read = read_films(films, settings_of(assignments, bundle=bundle, engine=engine), table)
    check_binding(made, read.bundle_sha256, read.contract, read.arithmetic)
    report = check(read.films, read.contract, made, sha256)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "report.json", report.model_dump_json(indent=1) + "\n")
    write_atomically(out / "report.html", page(report))
    shown = Table(header_style="dim")
    for heading in ("finding", "films", "with it", "agree", "log loss bundle", "log loss site"):
        shown.add_column(heading)
    for item in report.findings:
        shown.add_row(
            item.finding,
            str(item.films),
            str(item.events),
            f"{item.concordance.value:.3f}",
            f"{item.log_loss_bundle:.4f}",
            f"{item.log_loss_site:.4f}",
        )
    Console().print(shown)
    Console(soft_wrap=True).print(f"report.html and report.json are in {out}", markup=False)


@site.command("diff")
def diff_sites(
    old: Annotated[Path, typer.Argument(help="A site file.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    films: Annotated[
        Path | None, typer.Option(help="Folder of films: on how many of them does a decision change?")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle.", envvar="CXRSERVE_BUNDLE")
    ] = None,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Print every number that differs, and with films the decisions that differ on them."""
    from cxrserve.cli.site_films import read_films
    from cxrserve.site.diff import changed_decisions, differences
    from cxrserve.site.file import check_binding, read_site

    before, after = read_site(old)[0], read_site(new)[0]
    table = Table(header_style="dim")
    for heading in ("number", old.name, new.name):
        table.add_column(Text(heading), overflow="fold")
    for difference in differences(before, after):
        table.add_row(*map(Text, difference))
    Console().print(table)
    if films is None:
        return
    read = read_films(films, settings_of(assignments, bundle=bundle, engine=engine), None)
    for each in (before, after):
        check_binding(each, read.bundle_sha256, read.contract, read.arithmetic)
    changed = changed_decisions(before, after, read.contract, read.films.scores_NF)
    for finding, count in changed.items():
        if count:
            Console().print(f"{finding}: {count} of {len(read.films.files)} decisions change")
    if not any(changed.values()):
        Console().print(f"no decision changes on {len(read.films.files)} films")


@site.command("history")
def site_history(
    folder: Annotated[Path, typer.Argument(help="Folder that holds all versions of one site.")],
) -> None:
    """List the versions of a site, and verify that none was changed after the next was made."""
    from cxrserve.site.history import history

    table = Table(header_style="dim")
    for heading in ("version", "made", "findings adopted", "note", "SHA-256", "file"):
        table.add_column(heading, overflow="fold")
    for path, version, sha256 in history(folder):
        table.add_row(
            str(version.version),
            version.created,
            str(len(version.calibration)),
            Text(version.note),
            sha256[:16],
            Text(path.name),
        )
    Console().print(table)


def _print_outcomes(console: Console, rows: list[tuple[str, bool, int, int, str]]) -> None:
    table = Table(header_style="dim")
    for heading in ("finding", "adopted", "films", "with it", "why"):
        table.add_column(heading, overflow="fold")
    for finding, adopted, films, events, why in rows:
        table.add_row(finding, "yes" if adopted else "no", str(films), str(events), Text(why))
    if rows:
        console.print(table)


def _finding(index: int) -> str:
    from cxrserve.findings import NAMES

    return NAMES[index]


def _prevalence(text: str) -> tuple[str, float]:
    from cxrserve.findings import INDEX

    finding, _, value = text.partition("=")
    try:
        if finding in INDEX:
            return finding, float(value)
    except ValueError:
        pass
    raise typer.BadParameter(f"--prevalence {text[:60]!r}: write FINDING=0.12")


def _station(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, senders = text.partition("=")
    titles = tuple(title.strip() for title in senders.split(",") if title.strip())
    if not name.strip() or not titles:
        raise typer.BadParameter(f"--station {text[:60]!r}: write NAME=AE_TITLE,AE_TITLE")
    return name.strip(), titles
