"""`cxrserve evaluate`: bundles on a test set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from cxrserve.reports.progress import progress_bar

if TYPE_CHECKING:
    from cxrserve.bundle.contract import Contract
    from training.datasets import Manifest, ReadOptions
    from training.datasets.sample import Sample
    from training.datasets.samples import Pyramids, Samples
    from training.report.evaluation import Evaluation
    from training.report.facts import RunFacts
    from training.report.files import FileSamples
    from training.report.scores import Scores, Track

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
            help="The images: KIND:PATH with a KIND of mimic-cxr-jpg, mimic-cxr, chexpert, "
            "chexpert-plus, nih, folder, phantoms; or cache:FOLDER, phantoms that training has drawn."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.json; the bundle's own else.")
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option(
            help="Which images: a part that the dataset's own table names, or all. By default all but those "
            "of patients who trained or validated a bundle: of a run's own data, its own test part."
        ),
    ] = None,
    as_folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="The bundles are the folds or seeds of one run: each is measured on the patients it did not "
            "learn from, and the report is over all of them.",
        ),
    ] = False,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="Score patients that a bundle was trained on, which --split may choose."
        ),
    ] = False,
    reading: Annotated[
        list[str] | None,
        typer.Option(
            "--read",
            metavar="KEY=VALUE",
            help="How the dataset is read, as for `train`: max_bad_share, labeler, section, tables, "
            "official_test, radiologist_test_labels, check_files.",
        ),
    ] = None,
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
    people: Annotated[
        Path | None,
        typer.Option(
            help="CSV with patient_id and any columns (race, insurance, scanner): measures of each group and "
            "its gap to the rest go into report.json."
        ),
    ] = None,
    cams: Annotated[
        str,
        typer.Option(
            help="Findings whose Grad-CAM is shown, with commas between them; empty: no radiograph is shown."
        ),
    ] = "Cardiomegaly,Pneumothorax",
    field_images: Annotated[
        int, typer.Option(min=0, help="Images for the effective receptive field; 0 leaves it out.")
    ] = 16,
) -> None:
    """Measure bundles through the path that serves, and write report.html and report.json.

    One bundle: AUC with confidence intervals, curves, calibration, weights of the scales, Grad-CAM,
    receptive fields, cost. Several: side by side on the same images. The page needs no other host.

    For example: cxrserve evaluate models/demo --data cache:runs/demo/data/test --work runs/demo
    """
    from training.datasets import DatasetError, ReadOptions
    from training.recipes.overrides import override
    from training.report.evaluate_bundle import ReportContents

    console = Console()
    if len(bundles) > 1 and out is None:
        raise typer.BadParameter("several bundles need a folder for their report", param_hint="--out")
    with ExitStack() as kept:
        try:
            contents = ReportContents(cam_findings=_names(cams), field_images=field_images, by_study=by_study)
            source = _Source(
                spec=data,
                split=split,
                split_file=split_file,
                uncertain=uncertain,
                console=console,
                bundles=tuple(bundles),
                allow_overlap=allow_overlap,
                options=override(ReadOptions(), reading or ()),
                people=people,
                partial=out or bundles[0],
                kept=kept,
            )
            evaluations = _measured(source, out, contents, work, as_folds)
        except (ValueError, DatasetError) as error:
            raise typer.BadParameter(str(error)) from None
    for evaluation in evaluations:
        means = ", ".join(f"{column} {value:.3f}" for column, value in evaluation.shown_means.items())
        console.print(f"{evaluation.bundle} {evaluation.version}: AUC {means}", highlight=False)
    console.print(f"{(out or bundles[0]) / 'report.html'}", highlight=False, soft_wrap=True)


def _measured(
    source: _Source, out: Path | None, contents: object, work: Path | None, as_folds: bool
) -> list[Evaluation]:
    """The evaluation of each bundle, or the one of all folds, with the report written."""
    compared = len(source.bundles) > 1
    if as_folds and compared:
        assert out is not None
        return [_folds(source, out, contents, work)]
    evaluations = [_one(bundle, source, out, contents, work, compared) for bundle in source.bundles]
    if compared:
        from training.report.evaluate_bundle import write_comparison

        assert out is not None
        write_comparison(evaluations, out, bundles=source.bundles)
    return evaluations


def _names(text: str) -> tuple[str, ...]:
    from cxrserve.findings import NAMES, indices

    return tuple(NAMES[index] for index in indices(text.split(","))) if text else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """The images, read for one bundle after the other.

    Attributes:
        partial: folder below which scores are kept as they come.
        kept: removes them when it is closed after the report was written, of all bundles at once: a command
            that was killed in its fifth bundle does not score the first four again.
    """

    spec: str
    split: Split | None
    split_file: Path | None
    uncertain: Uncertain
    console: Console
    bundles: tuple[Path, ...]
    allow_overlap: bool
    options: ReadOptions
    people: Path | None = None
    partial: Path
    kept: ExitStack

    @property
    def is_cache(self) -> bool:
        return self.spec.startswith(f"{CACHE}:")

    def cached(self, contract: Contract) -> Pyramids:
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
        import numpy as np

        from training.datasets import read_dataset

        manifest = read_dataset(self.spec, self.options)
        learnt = self._learnt(manifest)
        if self.split is None and self.split_file is None:
            keep_N = np.array([sample.patient_id not in learnt for sample in manifest.samples])
            if not keep_N.any():
                raise ValueError(
                    f"all patients of {self.spec} trained or validated a bundle: there is nothing left to "
                    "measure it on"
                )
            if learnt:
                self.console.print(
                    f"left out: {len(keep_N) - keep_N.sum()} images of {len(learnt)} patients who trained or "
                    "validated a bundle",
                    highlight=False,
                )
            return manifest.subset(keep_N)
        chosen = manifest.subset(np.array(self._chosen(manifest)))
        overlap = sorted({sample.patient_id for sample in chosen.samples} & learnt)
        if overlap and not self.allow_overlap:
            patients = len({sample.patient_id for sample in chosen.samples})
            raise ValueError(
                f"{len(overlap)} of {patients} patients of these images trained or validated a bundle, and "
                "their scores say nothing about new patients: leave --split away, or give --allow-overlap"
            )
        if overlap:
            self.console.print(
                f"{len(overlap)} patients of these images trained or validated a bundle", style="yellow"
            )
        return chosen

    def _chosen(self, manifest: Manifest) -> list[bool]:
        """The folder of the images that --split and --split-file choose."""
        from training.datasets.split import read_parts

        split = self.split or "test"
        if split == "all":
            return [True] * len(manifest)
        if self.split_file is not None:
            ids = read_parts(self.split_file)[split]
            keep = [sample.image_id in ids for sample in manifest.samples]
        else:
            keep = [sample.split == split for sample in manifest.samples]
        if not any(keep):
            raise ValueError(
                f"the tables of {self.spec} put no image into {split!r}; give --split-file, or --split all"
            )
        return keep

    def _learnt(self, manifest: Manifest) -> frozenset[str]:
        """Ids of the patients who trained or validated any of the bundles, as far as these say."""
        from training.datasets.patients import read_patients

        known = [patients for bundle in self.bundles if (patients := read_patients(bundle)) is not None]
        return frozenset().union(*(patients.learnt(manifest) for patients in known))


def _one(
    bundle: Path, source: _Source, out: Path | None, contents: object, work: Path | None, compared: bool
) -> Evaluation:
    from cxrserve.bundle.contract import read_contract
    from training.report.evaluate_bundle import ReportContents, write_report
    from training.report.evaluation import evaluate_scores
    from training.report.facts import curves_of, fits_of

    assert isinstance(contents, ReportContents)
    contract, _ = read_contract(bundle)
    with _scored(bundle, contract, source) as (samples, scores, run):
        if compared:
            return evaluate_scores(scores.by_study() if contents.by_study else scores)
        if work:
            run = replace(
                run,
                curves=curves_of(work, contract.lineage.steps),
                fits=fits_of(work, contract.lineage.steps),
            )
        evaluation = write_report(bundle, samples, scores, out or bundle, run=run, contents=contents)
        if source.people is not None:
            _add_people(source.people, samples, scores, (out or bundle) / "report.json")
        return evaluation


def _add_people(table: Path, samples: Samples, scores: Scores, report: Path) -> None:
    """Measure the groups of a table of people, and add them to the report.

    Raises:
        ValueError: the table cannot be used, or the images have no patients.
    """
    from cxrserve.findings import NAMES
    from training.evidence.people import add_to_report, read_people, subgroup_rows
    from training.report.files import FileSamples
    from training.report.scores import STACK

    if not isinstance(samples, FileSamples):
        raise ValueError("--people needs images of people: these are drawn")
    columns = {name: scores.probabilities(index).get(STACK) for index, name in enumerate(NAMES)}
    probabilities = {name: column for name, column in columns.items() if column is not None}
    rows = subgroup_rows(
        probabilities,
        {name: scores.threshold(NAMES.index(name)) for name in probabilities},
        scores.labels_NF,
        [sample.patient_id for sample in samples.manifest.samples],
        read_people(table),
    )
    add_to_report(report, rows)


def _folds(source: _Source, out: Path, contents: object, work: Path | None) -> Evaluation:
    """The report over several folds of one run, each on the images of patients it did not learn from."""
    from cxrserve.bundle.contract import read_contract
    from training.report.evaluate_bundle import ReportContents, write_report
    from training.report.facts import curves_of, fits_of, people_of
    from training.report.measures import distinct

    assert isinstance(contents, ReportContents)
    first, *others = source.bundles
    rest: list[Scores] = []
    records: list[Sequence[Sample]] = []
    contract, _ = read_contract(first)
    _check_one_run(source.bundles)
    for bundle in others:
        with _scored(bundle, read_contract(bundle)[0], replace(source, bundles=(bundle,))) as scored:
            rest.append(scored[1])
            records.append(_records(scored[0]))
    with _scored(first, contract, replace(source, bundles=(first,))) as (samples, scores, run):
        records.insert(0, _records(samples))
        folds = [scores, *rest]
        units = [fold.by_study() for fold in folds] if contents.by_study else folds
        if work:
            run = replace(run, curves=curves_of(work), fits=fits_of(work))
        patients = [{sample.patient_id for sample in of_fold} for of_fold in records]
        pooled = units if all(patients) and distinct(patients) else []
        run = replace(run, pooled_people=people_of([sample for of_fold in records for sample in of_fold]))
        return write_report(
            first, samples, scores, out, folds=units, pooled=pooled, run=run, contents=contents
        )


def _records(samples: Samples) -> Sequence[Sample]:
    """The tables' facts about each image; none of phantoms in a cache."""
    records: Sequence[Sample] = getattr(samples, "records", ())
    return records


def _check_one_run(bundles: Iterable[Path]) -> None:
    """Refuse bundles that are not folds of one run.

    Raises:
        ValueError: they come from other recipes, settings or data, or one is given twice.
    """
    from cxrserve.bundle.contract import read_contract

    contracts = [read_contract(bundle)[0] for bundle in bundles]
    lineages = [contract.lineage for contract in contracts]
    runs = {(lineage.recipe_sha256, lineage.data_sha256) for lineage in lineages}
    if len(runs) > 1:
        raise ValueError("the bundles come from other recipes or data: leave --folds away to compare them")
    ids = [lineage.id for lineage in lineages if lineage.id]
    if len(set(ids)) < len(ids):
        raise ValueError("two of the bundles are the same fold and seed: give each fold once")


@contextmanager
def _scored(bundle: Path, contract: Contract, source: _Source) -> Iterator[tuple[Samples, Scores, RunFacts]]:
    from training.report.facts import RunFacts
    from training.report.scores import score_bundle

    with _tracking(source.console) as track:
        if source.is_cache:
            samples = source.cached(contract)
            description = f"phantoms ({Path(source.spec.removeprefix(f'{CACHE}:')).name})"
            yield samples, score_bundle(bundle, samples, description, track=track), RunFacts()
            return
        from training.report.facts import people_of, shapes_of

        manifest = source.manifest()
        with _files(bundle, manifest, contract, source, track) as (files, scores):
            run = RunFacts(
                shapes=shapes_of(files.manifest),
                people=people_of(files.manifest.samples),
                source_labels_NF=files.manifest.labels_NF(),
            )
            yield files, scores, run


@contextmanager
def _files(
    bundle: Path, manifest: Manifest, contract: Contract, source: _Source, track: Track
) -> Iterator[tuple[FileSamples, Scores]]:
    from cxrserve.settings import Settings
    from training.datasets.labels import LabelPolicy
    from training.report.files import FileSamples, decoding, score_files
    from training.report.partial_scores import count_kept, kept_until_done
    from training.report.score_images import open_for_many

    settings = Settings(bundle=bundle)
    policy = LabelPolicy(uncertain=source.uncertain)
    with decoding(contract.preprocessing, settings) as pool:
        samples = FileSamples(pool, manifest, policy, settings.decode_workers)
        predictor = open_for_many(settings)
        facts = {
            "bundle": predictor.bundle.sha256,
            "arithmetic": str(predictor.arithmetic),
            "images": manifest.sha256,
            "files": samples.stats(),
        }
        partial = source.kept.enter_context(kept_until_done(source.partial, facts))
        if count := count_kept(partial):
            source.console.print(
                f"goes on: {count} of {len(samples)} images were scored before",
                highlight=False,
                soft_wrap=True,
            )
        with closing(samples):
            part = "" if source.split in (None, "all") else f", {source.split}"
            description = f"{source.spec.partition(':')[0]}{part}"
            scores, faults = score_files(predictor, samples, description, track, partial)
            for fault in faults[:SHOWN]:
                source.console.print(f"left out: {fault}", style="yellow", markup=False)
            if len(faults) > SHOWN:
                source.console.print(f"left out: {len(faults) - SHOWN} more", style="yellow")
            yield samples, scores


@contextmanager
def _tracking(console: Console) -> Iterator[Track]:
    with progress_bar(console, transient=True) as bar:

        def track(steps: Iterable[Any], what: str, total: int) -> Iterable[Any]:
            return bar.track(steps, total=total, description=what)

        yield track
