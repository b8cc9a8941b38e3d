"""`cxrserve evaluate`: bundles on a test set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from cxrserve.reports.progress import progress_bar

if TYPE_CHECKING:
    from cxrserve.ensemble.bundle import Contract
    from cxrserve.ensemble.predictor import Prediction
    from training.datasets import Manifest
    from training.report.evaluation import Evaluation
    from training.report.facts import RunFacts
    from training.report.files import FileSamples
    from training.report.scores import Scores, Track
    from training.samples import Samples

CACHE = "cache"
Split = Literal["test", "validate", "train", "all"]
Uncertain = Literal["zeros", "ones", "ignore"]
# Reasons shown for files that could not be judged.
SHOWN = 5


def evaluate(
    bundles: Annotated[list[Path], typer.Argument(help="Folder of a bundle; several are compared.")],
    data: Annotated[
        str,
        typer.Option(
            help="The images: KIND:PATH with a KIND of mimic-cxr-jpg, mimic-cxr, chexpert, nih, folder, "
            "phantoms; or cache:FOLDER, phantoms that training has drawn."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.json; the bundle's own else.")
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Which images: a part that the dataset's own table names, or all.")
    ] = "all",
    split_file: Annotated[
        Path | None, typer.Option(help="A split that training wrote, instead of the dataset's own.")
    ] = None,
    uncertain: Annotated[
        Uncertain, typer.Option(help="What uncertain labels are taken for; not mentioned is negative.")
    ] = "zeros",
    by_study: Annotated[
        bool, typer.Option("--by-study", help="Judge studies by the bundle's rule, not single images.")
    ] = False,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the run that made the bundle: for the training curves.")
    ] = None,
    cams: Annotated[
        str, typer.Option(help="Findings whose Grad-CAM is shown, with commas between them.")
    ] = "Cardiomegaly,Pneumothorax",
    field_images: Annotated[
        int, typer.Option(min=0, help="Images for the effective receptive field; 0 leaves it out.")
    ] = 16,
) -> None:
    """Measure bundles through the path that serves, and write report.html and report.json.

    One bundle: AUC with confidence intervals, curves, calibration, weights of the scales, Grad-CAM,
    receptive fields, cost. Several: side by side on the same images. The page needs no other host.

    For example: cxrserve evaluate models/demo --data cache:runs/demo/test --work runs/demo
    """
    from training.datasets import DatasetError
    from training.report.evaluate_bundle import Wanted

    console = Console()
    if len(bundles) > 1 and out is None:
        raise typer.BadParameter("several bundles need a folder for their report", param_hint="--out")
    try:
        wanted = Wanted(cam_findings=_names(cams), field_images=field_images, by_study=by_study)
        source = _Source(data, split, split_file, uncertain, console)
        evaluations = [_one(bundle, source, out, wanted, work, len(bundles) > 1) for bundle in bundles]
    except (ValueError, DatasetError) as error:
        raise typer.BadParameter(str(error)) from None
    if len(bundles) > 1:
        from training.report.evaluate_bundle import write_comparison

        assert out is not None
        write_comparison(evaluations, out)
    for evaluation in evaluations:
        means = ", ".join(f"{column} {value:.3f}" for column, value in evaluation.means.items())
        console.print(f"{evaluation.bundle} {evaluation.version}: AUC {means}", highlight=False)
    console.print(f"{(out or bundles[0]) / 'report.html'}", highlight=False, soft_wrap=True)


def _names(text: str) -> tuple[str, ...]:
    from cxrserve.findings import NAMES, indices

    return tuple(NAMES[index] for index in indices(text.split(","))) if text else ()


class _Source:
    """Where the images come from, read for one bundle after the other."""

    def __init__(
        self, spec: str, split: Split, split_file: Path | None, uncertain: Uncertain, console: Console
    ) -> None:
        self.spec, self.split, self.split_file, self.uncertain = spec, split, split_file, uncertain
        self.console = console

    @property
    def is_cache(self) -> bool:
        return self.spec.startswith(f"{CACHE}:")

    def cached(self, contract: Contract) -> Samples:
        from training.cache import open_cache

        folder = Path(self.spec.removeprefix(f"{CACHE}:"))
        try:
            return open_cache(folder, contract.preprocessing)
        except OSError as error:
            raise ValueError(f"{folder} is no cache of phantoms at the bundle's sizes: {error}") from error

    def manifest(self) -> Manifest:
        """The manifest's images that are asked for.

        Raises:
            DatasetError, ValueError: there are none, or the dataset names no parts.
        """
        from training.datasets import read_dataset
        from training.datasets.split import read_split

        manifest = read_dataset(self.spec)
        if self.split == "all":
            return manifest
        if self.split_file is not None:
            positions = read_split(self.split_file, manifest).positions(manifest)[self.split].tolist()
            chosen = set(positions)
            keep = [index in chosen for index in range(len(manifest))]
        else:
            keep = [sample.split == self.split for sample in manifest.samples]
        if not any(keep):
            raise ValueError(
                f"the tables of {self.spec} put no image into {self.split!r}; give --split-file, or "
                "--split all"
            )
        import numpy as np

        return manifest.subset(np.array(keep))


def _one(
    bundle: Path, source: _Source, out: Path | None, wanted: object, work: Path | None, compared: bool
) -> Evaluation:
    from cxrserve.ensemble.bundle import read_contract
    from training.report.evaluate_bundle import Wanted, write_report
    from training.report.evaluation import evaluate_scores
    from training.report.facts import curves_of, fits_of

    assert isinstance(wanted, Wanted)
    contract, _ = read_contract(bundle)
    with _scored(bundle, contract, source) as (samples, scores, run):
        if compared:
            return evaluate_scores(scores.by_study() if wanted.by_study else scores)
        if work:
            run = replace(run, curves=curves_of(work), fits=fits_of(work))
        return write_report(bundle, samples, scores, out or bundle, run=run, wanted=wanted)


@contextmanager
def _scored(bundle: Path, contract: Contract, source: _Source) -> Iterator[tuple[Samples, Scores, RunFacts]]:
    from training.report.facts import RunFacts
    from training.report.scores import score_bundle

    with _tracking(source.console) as track:
        if source.is_cache:
            samples = source.cached(contract)
            words = f"phantoms ({Path(source.spec.removeprefix(f'{CACHE}:')).name})"
            yield samples, score_bundle(bundle, samples, words, track=track), RunFacts()
            return
        from training.report.facts import people_of, shapes_of

        manifest = source.manifest()
        with _files(bundle, manifest, contract, source, track) as (files, scores):
            run = RunFacts(
                shapes=shapes_of(files.manifest),
                people=people_of(files.manifest),
                source_labels_NF=files.manifest.labels_NF(),
            )
            yield files, scores, run


@contextmanager
def _files(
    bundle: Path, manifest: Manifest, contract: Contract, source: _Source, track: Track
) -> Iterator[tuple[FileSamples, Scores]]:
    from cxrserve.ensemble.predictor import Predictor
    from cxrserve.settings import Settings
    from training.labels import LabelPolicy
    from training.report.files import FileSamples, decoding, score_files

    settings = Settings(bundle=bundle)
    policy = LabelPolicy(uncertain=source.uncertain)
    with decoding(contract.preprocessing, settings) as pool:
        samples = FileSamples(pool, manifest, policy, settings.decode_workers)
        with closing(samples):
            part = "" if source.split == "all" else f", {source.split}"
            words = f"{source.spec.partition(':')[0]}{part}"
            scores, faults = score_files(Predictor.open(settings), samples, words, track)
            for fault in faults[:SHOWN]:
                source.console.print(f"left out: {fault}", style="yellow", markup=False)
            if len(faults) > SHOWN:
                source.console.print(f"left out: {len(faults) - SHOWN} more", style="yellow")
            yield samples, scores


@contextmanager
def _tracking(console: Console) -> Iterator[Track]:
    with progress_bar(console, transient=True) as bar:

        def track(steps: Iterable[Prediction], what: str, total: int) -> Iterable[Prediction]:
            return bar.track(steps, total=total, description=what)

        yield track
