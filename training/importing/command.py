"""`cxrserve models import`: published weights become a bundle that serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from cxrserve.imaging.types import Filter, Fit, ProfileName

if TYPE_CHECKING:
    from cxrserve.bundle.contract import Contract
    from training.importing.bundle import Imported

Normalisation = Literal["imagenet", "chexpert", "half", "xrv"]
# DenseNet's usual side, where nothing is said.
USUAL_SIZE = 224


def import_(
    out: Annotated[Path, typer.Argument(help="Folder of the bundle to write.")],
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE[@SIZE]",
            help="A DenseNet in torchvision's layout (121, 161, 169, 201; one or three channels), as "
            "safetensors or saved by torch, looking at images of SIZE pixels (224 if not said). Prefixes "
            "such as module., old names such as norm.1, and optimisers beside it are understood. May be "
            "given several times, once for each size.",
        ),
    ] = None,
    xrv: Annotated[
        list[str] | None,
        typer.Option(
            "--xrv",
            metavar="NAME[@SIZE]",
            help="A network of TorchXRayVision, e.g. densenet121-res224-all, fetched by its own package: "
            'pip install "cxrserve[xrv]".',
        ),
    ] = None,
    xrv_folder: Annotated[
        Path | None, typer.Option(help="Where TorchXRayVision keeps its downloads; its own place else.")
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(
            help="What the outputs are, in order: names with commas between them, or a file with one name on "
            "a line. Needed where a checkpoint does not say itself. Names that are none of the 14 are left "
            "out; of the 14, those that nobody knows are reported as unavailable."
        ),
    ] = None,
    normalisation: Annotated[
        Normalisation,
        typer.Option(
            help="What the networks of --weights were trained on: imagenet (ImageNet's mean and standard "
            "deviation), chexpert ((grey − 128)/64), half (−1 to 1), xrv (−1024 to 1024)."
        ),
    ] = "imagenet",
    profile: Annotated[
        ProfileName | None,
        typer.Option(
            help="How stored values become grey: that of the dataset the networks were trained on. "
            "mimic-cxr-jpg if not said; torchxrayvision with --xrv."
        ),
    ] = None,
    fit: Annotated[
        Fit | None, typer.Option(help="How the film becomes a square: squash; centre-crop with --xrv.")
    ] = None,
    filter_: Annotated[Filter, typer.Option("--filter", help="Filter of the resize.")] = "area",
    name: Annotated[str, typer.Option(help="Name of the bundle: small letters, digits, . _ -")] = "imported",
    fp16: Annotated[
        bool,
        typer.Option(
            "--fp16",
            help="Also write half precision for GPUs, where it stays close enough on drawn phantoms.",
        ),
    ] = False,
) -> None:
    """Make a bundle from published weights, so that they serve without any training.

    Nothing that a file says is run, and nothing is invented: findings that no network knows get no
    probability, no decision and no heatmap.

    One network of CheXNet's kind, and two sizes of one's own:

      cxrserve models import models/chexnet --weights chexnet.pth.tar --findings chexnet-names.txt

      cxrserve models import models/mine --weights a.safetensors@320 --weights b.safetensors@640

    TorchXRayVision's network for all its datasets:

      cxrserve models import models/xrv --xrv densenet121-res224-all
    """
    from pydantic import ValidationError

    console = Console()
    if not weights and not xrv:
        raise typer.BadParameter("give --weights or --xrv, at least once")
    if weights and xrv and (profile is None or fit is None):
        raise typer.BadParameter(
            "a bundle has one way to prepare images: say --profile and --fit where --weights and --xrv meet"
        )
    try:
        imported = [_file(item, findings, normalisation) for item in weights or []]
        imported += [_xrv(item, xrv_folder) for item in xrv or []]
        usual: tuple[ProfileName, Fit] = (
            ("torchxrayvision", "centre-crop") if xrv else ("mimic-cxr-jpg", "squash")
        )
        contract = _write(imported, out, name, profile or usual[0], fit or usual[1], filter_)
        if fp16:
            from training.importing.bundle import write_half

            contract = write_half(out)
    except ValidationError as error:
        faults = "; ".join(fault["msg"] for fault in error.errors())
        raise typer.BadParameter(faults) from None
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    _say(console, contract, out, imported)


def _write(
    imported: list[Imported], out: Path, name: str, profile: ProfileName, fit: Fit, filter_: Filter
) -> Contract:
    from cxrserve.imaging.pyramid import Preprocessing
    from training.importing.bundle import write_imported

    sizes = tuple(sorted(item.size for item in imported))
    return write_imported(
        imported, out, name, Preprocessing(profile=profile, fit=fit, filter=filter_, sizes=sizes)
    )


def _sized(text: str, usual: int) -> tuple[str, int]:
    """Name and size of NAME@SIZE.

    Raises:
        ValueError: the size is no multiple of the networks' stride.
    """
    from cxrserve.bundle.contract import STRIDE

    name, at, size = text.rpartition("@")
    if not at or not size.isdigit():
        return text, usual
    if int(size) < STRIDE or int(size) % STRIDE:
        raise ValueError(f"{text}: the side of an image is a multiple of {STRIDE} pixels, not {size}")
    return name, int(size)


def _file(path: Path, findings: str | None, normalisation: Normalisation) -> Imported:
    from training.importing.bundle import Imported
    from training.importing.checkpoint import read_checkpoint
    from training.importing.network import NORMALISATIONS, ImportedNetwork

    name, size = _sized(str(path), USUAL_SIZE)
    checkpoint = read_checkpoint(Path(name))
    outputs = _names(findings) if findings else checkpoint.outputs
    if outputs is None:
        raise ValueError(
            f"{name} does not say what its {checkpoint.classifier.out_features} outputs are: give --findings"
        )
    network = ImportedNetwork(checkpoint, outputs, NORMALISATIONS[normalisation])
    return Imported(network=network, size=size, source=checkpoint.source, thresholds={})


def _names(text: str) -> tuple[str, ...]:
    """The names in `text`, or in the file that it names; an empty line or name is an output without one."""
    if "," not in text and Path(text).is_file():
        return tuple(text_line.strip() for text_line in Path(text).read_text(encoding="utf-8").splitlines())
    return tuple(name.strip() for name in text.split(","))


def _xrv(text: str, folder: Path | None) -> Imported:
    from cxrserve.findings import NAMES
    from training.importing.bundle import Imported
    from training.importing.network import NORMALISATIONS, ImportedNetwork, rows_of
    from training.importing.xrv import read_xrv

    name, requested_size = _sized(text, 0)
    model = read_xrv(name, folder)
    outputs = model.checkpoint.outputs
    assert outputs is not None
    network = ImportedNetwork(model.checkpoint, outputs, NORMALISATIONS["xrv"])
    thresholds = {
        NAMES[index]: threshold
        for index, position in rows_of(outputs).items()
        if (threshold := model.thresholds[position]) is not None
    }
    size = requested_size or model.size
    return Imported(network=network, size=size, source=model.checkpoint.source, thresholds=thresholds)


def _say(console: Console, contract: Contract, out: Path, imported: list[Imported]) -> None:
    for item in imported:
        known = ", ".join(item.network.known)
        console.print(f"{item.size} px, {item.network.architecture}: knows {known}", highlight=False)
    if contract.unavailable:
        console.print(f"unavailable: {', '.join(contract.unavailable)}", style="yellow", highlight=False)
    worst = max(contract.tolerance.values())
    console.print(f"torch and both engines agree to {worst:.1e} of the spread", highlight=False)
    console.print(f"the bundle is in {out}; `cxrserve serve --bundle {out}` serves it", highlight=False)
