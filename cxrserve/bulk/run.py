"""A bulk run: its plan, and the parts that remain, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console

from cxrserve.bulk.dicom_results import DicomResults
from cxrserve.bulk.output import OutputFolder
from cxrserve.bulk.plan import PART_IMAGES, Plan, Run, part_file
from cxrserve.bulk.progress import Progress
from cxrserve.bulk.reader import PartReader, Work
from cxrserve.bulk.source import Source
from cxrserve.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of a run.

    Attributes:
        dicom: folder of the DICOM results; None to make none.
        ray: address of the Ray cluster that reads; None to read on this machine.
        give_up: number of parts that may fail on the cluster before the run ends.
    """

    dicom: str | None = None
    ray: str | None = None
    give_up: int = 0
    part_images: int = PART_IMAGES


def predict_in_parts(source: Source, settings: Settings, output: str, options: Options | None = None) -> bool:
    """Analyse all images of `source` and write their rows to the folder `output`.

    Called again after an interruption it goes on; where nothing remains it does nothing.

    Returns:
        False where parts were given up.

    Raises:
        ConfigurationError: the source, the bundle, the engine, the output folder or the cluster cannot be
            used.
        EngineLost: a device failed permanently; the same call goes on.
        CxrserveError: the source does not answer any more; the same call goes on.
    """
    chosen = options or Options()
    console = Console(stderr=True, soft_wrap=True)
    run = Run.of(settings, source.location, dicom=chosen.dicom is not None, part_images=chosen.part_images)
    read = _read_here if chosen.ray is None else _read_on(chosen.ray, chosen.give_up)
    plan = Plan.opened(run, source, OutputFolder(output))
    dicom = None if chosen.dicom is None else DicomResults.opened(run, OutputFolder(chosen.dicom))
    remaining = plan.remaining()
    console.print(
        f"{plan.images} images in {plan.parts} parts; {plan.parts - len(remaining)} parts were done before",
        markup=False,
    )
    if not remaining:
        return True
    work = Work(run=run, source=source, output=plan.output, dicom=dicom)
    with Progress(console, images=plan.images_of(remaining), parts=len(remaining)) as progress:
        read(settings, work, plan, remaining, progress)
    progress.summarise()
    if missing := plan.remaining():
        names = ", ".join(part_file(part) for part in missing[:10])
        console.print(
            f"{len(missing)} parts were given up and have no file: {names}{', …' * (len(missing) > 10)}. "
            "The same command tries them again.",
            markup=False,
        )
    return not missing


def _read_here(settings: Settings, work: Work, plan: Plan, remaining: list[int], progress: Progress) -> None:
    with closing(PartReader(settings, work)) as reader:
        for part in remaining:
            progress.part_done(reader.read(part, plan.names(part), progress.advance))


def _read_on(address: str, give_up: int) -> Callable[[Settings, Work, Plan, list[int], Progress], None]:
    """Reads on the cluster at `address`, which is found before anything is planned."""
    from cxrserve.bulk.on_ray import connected

    cluster = connected(address)

    def read(settings: Settings, work: Work, plan: Plan, remaining: list[int], progress: Progress) -> None:
        cluster.read(settings, work, plan, remaining, progress, give_up=give_up)

    return read
