"""Step of a trial: a protocol, and what all steps share: folders, stamps, doing each once.

Each step has a folder below its trial, such as `fold_1/seed_0/stack`. A step with other inputs (another
setting, recipe or version) gets a folder of its own beside it, `stack-1a2b3c4d`: nothing finished is ever
overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from training.stamp import (
    Stamp,
    differences,
    file_sha256,
    key_of,
    plain,
    read_stamp,
    write_stamp,
)
from training.steps.progress import Progress
from training.steps.run import Run, Trial

STAMP: Final = "stamp.json"
STARTED: Final = "started.json"
Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")


class StepError(ValueError):
    """A step that was asked for before the one that it builds on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """Output of a step: the files, relative to its folder, and a summary for its stamp."""

    files: tuple[str, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)


class Step(Protocol[Result_co]):
    """One step of each trial: a pure function of its inputs, into a folder.

    Attributes:
        name: of its folder, such as "fit_256".
        command: the `cxrserve train` command that does it.
    """

    @property
    def name(self) -> str: ...

    @property
    def command(self) -> str: ...

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the step depends on.

        Raises:
            StepError: an earlier step has not been done.
        """
        ...

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Do the step; `folder` is empty, or holds what a killed run with the same inputs left."""
        ...

    def load(self, folder: Path) -> Result_co:
        """Read what the step wrote into `folder`."""
        ...


def label(step: Step[object], trial: Trial) -> str:
    """The step and its trial in words, such as "fit 256, fold 1, seed 0"."""
    return f"{step.name.replace('_', ' ')}, {trial.label}"


def folder_of(step: Step[object], run: Run, trial: Trial) -> Path:
    """The folder that holds the step with its present inputs, or will hold it."""
    return find_folder(run.folder(trial), step.name, step.inputs(run, trial))


def find_folder(parent: Path, name: str, inputs: Mapping[str, object]) -> Path:
    """The folder `name`, or `name-…` beside it, that was begun with `inputs`; else one that is free."""
    for folder in _folders(parent, name):
        stamp = stamp_in(folder)
        if stamp is not None and not differences(stamp.inputs, inputs):
            return folder
    first = parent / name
    free = not first.exists() or not any(first.iterdir())
    return first if free else parent / f"{name}-{key_of(inputs)[:8]}"


def _folders(parent: Path, name: str) -> Iterator[Path]:
    yield from (path for path in (parent / name, *sorted(parent.glob(f"{name}-*"))) if path.is_dir())


def stamp_in(folder: Path) -> Stamp | None:
    """The stamp of the step in `folder`, finished or begun."""
    return read_stamp(folder / STAMP) or read_stamp(folder / STARTED)


def why_not_done(step: Step[object], run: Run, trial: Trial) -> str | None:
    """The reason that the step must run; None if it is done.

    Outputs are looked for, not hashed: they may be large.
    """
    return why_not_in(run.folder(trial), step.name, step.inputs(run, trial))


def why_not_in(parent: Path, name: str, inputs: Mapping[str, object]) -> str | None:
    """The reason that `parent` holds no finished `name` with `inputs`; None if it does."""
    folder = find_folder(parent, name, inputs)
    stamp = read_stamp(folder / STAMP)
    if stamp is not None:
        missing = [file for file in stamp.outputs if not (folder / file).exists()]
        return f"missing: {', '.join(missing)}" if missing else None
    if read_stamp(folder / STARTED) is not None:
        return "begun, will be resumed"
    other_folders = [path for path in _folders(parent, name) if any(path.iterdir())]
    if not other_folders:
        return "not done yet"
    other = stamp_in(other_folders[0])
    changed = differences(other.inputs, inputs) if other else ["the format of the stamp"]
    return f"changed: {', '.join(changed[:3])}; {other_folders[0].name} stays as it is"


def stamp_of(step: Step[object], run: Run, trial: Trial) -> Stamp:
    """The stamp of a finished step.

    Raises:
        StepError: it has not been done.
    """
    why = why_not_done(step, run, trial)
    stamp = read_stamp(folder_of(step, run, trial) / STAMP)
    if why or stamp is None:
        raise StepError(f"{label(step, trial)}: {why}; run `{step.command}` first")
    return stamp


def result_of(step: Step[Result], run: Run, trial: Trial) -> Result:
    """The result of a finished step.

    Raises:
        StepError: it has not been done.
    """
    stamp_of(step, run, trial)
    return step.load(folder_of(step, run, trial))


def do(step: Step[object], run: Run, trial: Trial, progress: Progress) -> None:
    """Do the step, unless it is done."""
    if why_not_done(step, run, trial):
        folder = begin(step, run, trial)
        finish(step, run, trial, folder, step.run(run, trial, folder, progress))


def begin(step: Step[object], run: Run, trial: Trial) -> Path:
    """The step's folder, with a note of the inputs that it was begun with."""
    folder = folder_of(step, run, trial)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    inputs = plain(step.inputs(run, trial))
    write_stamp(folder / STARTED, Stamp(step=f"{trial.name}/{step.name}", inputs=inputs))
    return folder


def finish(step: Step[object], run: Run, trial: Trial, folder: Path, outcome: Done) -> Stamp:
    """Write the step's stamp, with the hashes of its files."""
    outputs = {name: file_sha256(folder / name) for name in outcome.files}
    started = read_stamp(folder / STARTED)
    assert started is not None
    return write_stamp(
        folder / STAMP,
        Stamp(step=started.step, inputs=started.inputs, outputs=outputs, summary=dict(outcome.summary)),
    )
