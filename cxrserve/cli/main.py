"""The main command `cxrserve` and its commands, except those of `cxrserve pacs`.

Nothing heavy is imported before a command needs it, so that `--help` answers at once. The commands of
training are found through entry points.
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
from cxrserve.cli.options import BundleOption, EngineOption, SetOption, settings_of
from cxrserve.cli.pacs import pacs
from cxrserve.cli.site import site
from cxrserve.errors import CxrserveError
from cxrserve.settings import Settings

_OK, _SOME_FAILED, _USAGE = 0, 1, 2
# Packages of extras, without which a command of `training` cannot run.
_OF_TRAINING = dict.fromkeys(("torch", "torchvision", "onnx", "onnxscript"), "train") | {"nncf": "quantize"}

app = typer.Typer(
    name="cxrserve",
    help="Analyses chest X-rays: 14 probabilities, and heatmaps that explain them. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="Show, check and make model bundles.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(pacs, name="pacs")
app.add_typer(site, name="site")


@app.command()
def serve(
    bundle: BundleOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for any free one.")] = None,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Start the HTTP service: POST /predict, /predict/study, /model, /docs."""
    from cxrserve.api.server import serve as run_server

    settings = settings_of(assignments, bundle=bundle, host=host, port=port, engine=engine)
    raise typer.Exit(run_server(settings))


@app.command()
def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files and folders; DICOM, JPEG or PNG. A dash is standard input. With --format parquet: "
            "one folder, one s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, or dicomweb:SERVER, a server of "
            "the rules.",
            metavar="PATHS...",
        ),
    ],
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for overlays as PNG: one sheet for each image, with its positive findings; with "
            "--findings a picture of each finding."
        ),
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(
            help="Names separated by commas, or all. With --heatmaps: the findings to draw, a picture of "
            "each. With --triage: the findings to decide, by default all; one alone may need far "
            "less work."
        ),
    ] = None,
    format: Annotated[
        Literal["table", "json", "jsonl", "csv", "parquet"] | None,
        typer.Option(
            help="Format of the answers; by default that of the output file's suffix (.csv, .json, .jsonl), "
            "else a table, or one line for each of several images. parquet is for whole archives: a folder "
            "with a file for every 256 images; after an interruption the same command goes on."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="File for the answers; by default standard output. With --format parquet: the folder."
        ),
    ] = None,
    triage: Annotated[
        Literal["exact", "conformal"] | None,
        typer.Option(
            help="Only decide, with this guarantee, and stop at the scale that settles the decision."
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="With --triage conformal: maximum share of images with another decision than in full; "
            "0.001 by default."
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open the overlay sheet of each image, of ten at most.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of a running service that analyses the files; its token is CXRSERVE_TOKEN."
        ),
    ] = None,
    dicom: Annotated[
        str | None,
        typer.Option(
            help="With --format parquet: folder for DICOM results, a report, an overlay and a presentation "
            "state of each DICOM image."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="With --format parquet: read on all machines of a Ray cluster: auto for that of this "
            "machine, or HOST:PORT of its head."
        ),
    ] = None,
    give_up: Annotated[
        int | None,
        typer.Option(
            min=0, help="With --ray: number of parts that may fail before the run ends; 0 by default."
        ),
    ] = None,
    bundle: BundleOption = None,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Analyse radiographs in files and folders. A bad file does not stop the others.

    Exit code 0 if all files were answered, 1 if some were refused, 2 if nothing could start.
    """
    from cxrserve.cli.bulk import ArchiveOptions, predict_archive
    from cxrserve.cli.output import format_of
    from cxrserve.cli.predict import TriageOptions, predict_files
    from cxrserve.pipeline.triage import asked_findings

    if epsilon is not None and triage is None:
        raise typer.BadParameter("--epsilon needs --triage conformal")
    settings = settings_of(assignments, bundle=bundle, engine=engine)
    of_archives = ArchiveOptions(dicom=dicom, ray=ray, give_up=give_up)
    if format == "parquet":
        others = {"--heatmaps": heatmaps, "--findings": findings, "--triage": triage, "--url": url}
        complete = predict_archive(paths, output, settings, of_archives, other_options=others)
        raise typer.Exit(_OK if complete else _SOME_FAILED)
    of_archives.refuse()
    file = Path(output) if output else None
    all_answered = predict_files(
        [Path(path) for path in paths],
        settings,
        overlays=heatmaps,
        explain=findings,
        format_=format or format_of(file),
        output=file,
        url=url,
        show=open_,
        triage=(
            TriageOptions(
                guarantee=triage,
                epsilon=0.001 if epsilon is None else epsilon,
                findings=asked_findings(findings or "all"),
            )
            if triage
            else None
        ),
    )
    raise typer.Exit(_OK if all_answered else _SOME_FAILED)


@app.command()
def bench(
    films: Annotated[list[Path], typer.Argument(help="Files and folders to send; DICOM, JPEG or PNG.")],
    url: Annotated[
        str | None, typer.Option(help="Address of a running service; by default one is started.")
    ] = None,
    path: Annotated[str, typer.Option(help="Path and query of the requests.")] = "/predict?heatmaps=none",
    levels: Annotated[
        str, typer.Option(help="Levels of load, in percent of the measured capacity.")
    ] = "25,50,75,100,200",
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each level in seconds.")] = 30.0,
    arrivals: Annotated[
        Literal["poisson", "even"], typer.Option(help="Requests at random times, or evenly spaced.")
    ] = "poisson",
    output: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.")] = None,
    bundle: BundleOption = None,
    assignments: SetOption = None,
) -> None:
    """Measure a service: cold start, capacity, latencies under load.

    The load is open-loop: requests are sent when they are due, however slow the answers are, and latencies
    count from then. `cxrserve phantoms DIR` (with [train]) draws images to send.
    """
    from cxrserve.bench.command import bench as run_bench
    from cxrserve.bench.measure import Plan

    try:
        shares = tuple(int(level) for level in levels.split(","))
    except ValueError:
        raise typer.BadParameter(f"--levels {levels[:60]!r}: whole percents, separated by commas") from None
    plan = Plan(shares=shares, seconds=seconds, path=path, spacing=arrivals)
    run_bench(films, settings_of(assignments, bundle=bundle), plan, url=url, output=output)


@app.command()
def settings() -> None:
    """List every setting with its value on this machine; set it as CXRSERVE_<NAME>, --set or a flag."""
    current = settings_of(None)
    table = Table(header_style="dim")
    for heading in ("setting", "value", "what it does"):
        table.add_column(heading)
    for name, field in Settings.model_fields.items():
        table.add_row(f"CXRSERVE_{name.upper()}", str(getattr(current, name)), field.description or "")
    Console().print(table)


@app.command()
def doctor(bundle: BundleOption = None, engine: EngineOption = None) -> None:
    """Show what this machine has, which engine is used and why, and what is missing."""
    from cxrserve.cli.doctor import examine

    raise typer.Exit(_OK if examine(settings_of(None, bundle=bundle, engine=engine)) else _SOME_FAILED)


@models.command("list")
def models_list(
    folder: Annotated[Path, typer.Argument(help="Folder that holds bundles.")] = Path("models"),
) -> None:
    """List the bundles in a folder."""
    from cxrserve.bundle.contract import CONTRACT_FILE, read_contract

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
    json: Annotated[bool, typer.Option("--json", help="Print the whole contract as JSON.")] = False,
) -> None:
    """Print what a bundle is: its purpose, its limits, its networks, its findings."""
    from cxrserve.bundle.contract import read_contract
    from cxrserve.cli.bundle_summary import bundle_summary

    contract, sha256 = read_contract(folder)
    if json:
        Console().print_json(contract.model_dump_json())
        Console(stderr=True, soft_wrap=True).print(f"SHA-256 of bundle.json: {sha256}")
    else:
        Console().print(bundle_summary(contract, sha256))


@models.command("verify")
def models_verify(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("models/demo"),
    engine: EngineOption = None,
    key: Annotated[
        Path | None, typer.Option(help="PEM file of the public key that must have signed the bundle.")
    ] = None,
) -> None:
    """Check a bundle as the service does: contract, hashes, graphs, and one run of every member."""
    from cxrserve.ensemble.predictor import Predictor

    predictor = Predictor.open(settings_of(None, bundle=folder, engine=engine, bundle_key=key))
    predictor.warm_up()
    contract, choice = predictor.bundle.contract, predictor.choice
    Console().print(
        f"[green]sound[/]: {contract.name} {contract.version}, {len(contract.members)} members, "
        f"on {choice.name} {choice.version} in {predictor.precision}; SHA-256 {predictor.bundle.sha256}"
    )


@models.command("sign")
def models_sign(
    key: Annotated[Path, typer.Option(help="PEM file of the Ed25519 private key.")],
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("models/demo"),
) -> None:
    """Sign all files of a bundle; a service with CXRSERVE_BUNDLE_KEY serves no other."""
    from cxrserve.bundle.signature import sign_bundle

    Console(soft_wrap=True).print(f"signed: {sign_bundle(folder, key)}", markup=False)


@models.command("build")
def models_build(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("models/demo"),
    precision: Annotated[
        str | None,
        typer.Option(help="Precision that will be served: auto (fp16 if there is one), fp16, f32."),
    ] = None,
    engine: Annotated[
        Literal["tensorrt", "torch"],
        typer.Option(help="Engine that will serve: tensorrt; or torch, which gets faster by it."),
    ] = "tensorrt",
) -> None:
    """Build a bundle's engines for the GPUs of this machine; takes minutes, needed once.

    Each engine is compared with single precision at every batch size before it is stored. The service itself
    never builds engines.
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
            say=lambda message: console.print(message, soft_wrap=True),
            progress=show,
            engine=engine,
        )


def _version(requested: bool) -> None:
    if requested:
        Console().print(f"cxrserve {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of `cxrserve` itself."""


def _add_training(target: typer.Typer, name: str) -> None:
    """Register a command or a group of commands of `training`, if that package is installed."""
    for entry in entry_points(group="cxrserve.training", name=name):
        command: Callable[..., Any] | typer.Typer = entry.load()
        if isinstance(command, typer.Typer):
            target.add_typer(command, name=name)
        else:
            target.command(name)(command)


_add_training(app, "train")
_add_training(models, "init")
_add_training(models, "import")
_add_training(models, "calibrate")
_add_training(models, "triage")
_add_training(models, "quantize")
_add_training(models, "evidence")
_add_training(models, "film-check")
_add_training(app, "phantoms")
_add_training(app, "evaluate")


def main() -> None:
    """Console script: errors of this package become one sentence on stderr and exit code 2."""
    try:
        app()
    except CxrserveError as error:
        _complain(error.title, error.detail)
    except ModuleNotFoundError as error:
        if error.name not in _OF_TRAINING:
            raise
        extra = _OF_TRAINING[error.name]
        _complain(
            "Training is not installed here", f'{error.name} is missing: pip install "cxrserve[{extra}]"'
        )


def _complain(title: str, detail: str) -> NoReturn:
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[red]{title}[/]: ", end="", highlight=False)
    console.print(detail, markup=False, highlight=False)
    sys.exit(_USAGE)


if __name__ == "__main__":
    main()
