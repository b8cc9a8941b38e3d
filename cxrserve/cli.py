"""The command line: serve, predict, models, train, settings, doctor.

Nothing heavy is imported before a command needs it, so that `--help` answers at once. Training is found
through an entry point and loaded only when one of its commands is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from cxrserve import __version__
from cxrserve.errors import CxrserveError
from cxrserve.options import BundleOption, EngineOption, SetOption, settings_of
from cxrserve.pacs_cli import pacs
from cxrserve.settings import Settings

_OK, _SOME_FAILED, _USAGE = 0, 1, 2
_OF_TRAINING = ("torch", "torchvision", "onnx", "onnxscript", "nncf")  # the [train] extra

app = typer.Typer(
    name="cxrserve",
    help="One chest X-ray in, 14 probabilities and the pictures that explain them out. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="Look at model bundles, check them, make them.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(pacs, name="pacs")


@app.command()
def serve(
    bundle: BundleOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Start the HTTP service: POST /predict, /predict/study, /model, /docs."""
    from cxrserve.api.server import serve as run_server

    settings = settings_of(assignments, bundle=bundle, host=host, port=port, engine=engine)
    raise typer.Exit(run_server(settings))


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; DICOM, JPEG or PNG.")],
    heatmaps: Annotated[
        Path | None, typer.Option(help="Folder for overlays: the heatmap over the radiograph, as PNG.")
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(
            help="Names parted by commas, or all. With --heatmaps: overlays of which, by default of positive "
            "ones. With --triage: which to decide, by default all; one alone may need far less work."
        ),
    ] = None,
    format: Annotated[
        Literal["table", "json", "csv"], typer.Option(help="How the answers are written.")
    ] = "table",
    output: Annotated[Path | None, typer.Option(help="File for the answers; standard output else.")] = None,
    triage: Annotated[
        Literal["exact", "conformal"] | None,
        typer.Option(help="Only decide, and stop at the scale that settles it, under this guarantee."),
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="With --triage conformal: how often a decision may differ from the full.")
    ] = 0.001,
    bundle: BundleOption = None,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Read radiographs from files and folders. A bad file never stops the rest.

    Exit code 0 where all files were answered, 1 where some were refused, 2 where nothing could start.
    """
    from cxrserve.ensemble.decide import asked_findings
    from cxrserve.file_reader import Triage, read_files

    all_well = read_files(
        paths,
        settings_of(assignments, bundle=bundle, engine=engine),
        overlays=heatmaps,
        explain=findings or "positive",
        format_=format,
        output=output,
        triage=(
            Triage(guarantee=triage, epsilon=epsilon, findings=asked_findings(findings or "all"))
            if triage
            else None
        ),
    )
    raise typer.Exit(_OK if all_well else _SOME_FAILED)


@app.command()
def bench(
    films: Annotated[list[Path], typer.Argument(help="Files and folders to send; DICOM, JPEG or PNG.")],
    url: Annotated[
        str | None, typer.Option(help="A service that runs already; otherwise one is started for it.")
    ] = None,
    path: Annotated[str, typer.Option(help="Where to POST.")] = "/predict?heatmaps=none",
    levels: Annotated[
        str, typer.Option(help="Levels of load, in percent of the capacity found.")
    ] = "25,50,75,100,200",
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each level.")] = 30.0,
    arrivals: Annotated[
        Literal["poisson", "even"], typer.Option(help="Requests at random times, or evenly spaced.")
    ] = "poisson",
    output: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.")] = None,
    bundle: BundleOption = None,
    assignments: SetOption = None,
) -> None:
    """Load the service and say what it takes: cold start, capacity, latencies under load.

    The load is open-loop: requests come when they are due, however slow the answers are, and a latency counts
    from then. `cxrserve phantoms DIR` (with [train]) draws films to send.
    """
    from cxrserve.bench.command import bench as run_bench
    from cxrserve.bench.measure import Plan

    try:
        shares = tuple(int(level) for level in levels.split(","))
    except ValueError:
        raise typer.BadParameter(f"--levels {levels[:60]!r}: whole percents, parted by commas") from None
    plan = Plan(shares=shares, seconds=seconds, path=path, arrivals=arrivals)
    run_bench(films, settings_of(assignments, bundle=bundle), plan, url=url, output=output)


@app.command()
def settings() -> None:
    """List every setting with its value here; each can be set as CXRSERVE_<NAME>, --set or a flag."""
    current = settings_of(None)
    table = Table(header_style="dim")
    for heading in ("setting", "value", "what it does"):
        table.add_column(heading)
    for name, field in Settings.model_fields.items():
        table.add_row(f"CXRSERVE_{name.upper()}", str(getattr(current, name)), field.description or "")
    Console().print(table)


@app.command()
def doctor(bundle: BundleOption = None, engine: EngineOption = None) -> None:
    """Say what this machine has, which engine will be used and why, and what is missing."""
    from cxrserve.doctor import examine

    raise typer.Exit(_OK if examine(settings_of(None, bundle=bundle, engine=engine)) else _SOME_FAILED)


@models.command("list")
def models_list(
    folder: Annotated[Path, typer.Argument(help="Folder that holds bundles.")] = Path("models"),
) -> None:
    """List the bundles in a folder."""
    from cxrserve.ensemble.bundle import CONTRACT_FILE, read_contract

    table = Table(header_style="dim")
    for heading in ("folder", "name", "version", "sizes", "recipe", "trained on"):
        table.add_column(heading)
    for path in sorted(folder.glob(f"*/{CONTRACT_FILE}")):
        contract, _ = read_contract(path.parent)
        sizes = ", ".join(str(member.size) for member in contract.members)
        lineage = contract.lineage
        table.add_row(str(path.parent), contract.name, contract.version, sizes, lineage.recipe, lineage.data)
    Console().print(table if table.row_count else f"no bundle in {folder}")


@models.command("show")
def models_show(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("models/demo"),
) -> None:
    """Print a bundle's contract as JSON."""
    from cxrserve.ensemble.bundle import read_contract

    contract, sha256 = read_contract(folder)
    Console().print_json(contract.model_dump_json())
    Console(stderr=True).print(f"SHA-256 of bundle.json: {sha256}")


@models.command("verify")
def models_verify(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("models/demo"),
    engine: EngineOption = None,
) -> None:
    """Check a bundle as serving does: contract, hashes, graphs, and one run of every member."""
    from cxrserve.ensemble.predictor import Predictor

    predictor = Predictor.open(settings_of(None, bundle=folder, engine=engine))
    predictor.warm_up()
    contract, choice = predictor.bundle.contract, predictor.choice
    Console().print(
        f"[green]sound[/]: {contract.name} {contract.version}, {len(contract.members)} members, "
        f"on {choice.name} {choice.version} in {predictor.precision}; SHA-256 {predictor.bundle.sha256}"
    )


@models.command("build")
def models_build(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("models/demo"),
    precision: Annotated[
        str | None, typer.Option(help="As it will be served: auto (fp16 where there is one), fp16, f32.")
    ] = None,
) -> None:
    """Build a bundle's TensorRT engines for the GPUs of this machine; takes minutes, and is done once.

    Each engine is compared with single precision at every batch size before it is kept. Serving never builds.
    """
    from cxrserve.engines.build import build_bundle
    from cxrserve.reports.progress import progress_bar

    console = Console()
    with progress_bar(Console(stderr=True)) as progress:
        task = progress.add_task("building", total=None)

        def show(phase: str, step: int, steps: int) -> None:
            progress.update(task, description=phase[:40], completed=step, total=steps)

        build_bundle(
            folder,
            precision=settings_of(None, precision=precision).precision,
            say=lambda line: console.print(line, soft_wrap=True),
            progress=show,
        )


def _version(wanted: bool) -> None:
    if wanted:
        Console().print(f"cxrserve {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of cxrserve itself."""


def _add_training(target: typer.Typer, name: str) -> None:
    """Register a command or a group of commands of `training`, where that package is installed."""
    for entry in entry_points(group="cxrserve.training", name=name):
        command: Callable[..., Any] | typer.Typer = entry.load()
        if isinstance(command, typer.Typer):
            target.add_typer(command, name=name)
        else:
            target.command(name)(command)


_add_training(app, "train")
_add_training(models, "init")
_add_training(models, "import")
_add_training(models, "triage")
_add_training(models, "quantize")
_add_training(app, "phantoms")
_add_training(app, "evaluate")


def main() -> None:
    """The console script. Our own errors are one sentence on stderr and exit code 2."""
    try:
        app()
    except CxrserveError as error:
        _complain(error.title, error.detail)
    except ModuleNotFoundError as error:
        if error.name not in _OF_TRAINING:
            raise
        _complain("Training is not installed here", f'{error.name} is missing: pip install "cxrserve[train]"')


def _complain(title: str, detail: str) -> NoReturn:
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[red]{title}[/]: ", end="", highlight=False)
    console.print(detail, markup=False, highlight=False)
    sys.exit(_USAGE)


if __name__ == "__main__":
    main()
