"""Model card: a bundle's purpose, limits and figures, as a README."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal

from cxrserve.bundle.contract import Contract, Lineage
from cxrserve.bundle.operating_point import OperatingPoint
from training.datasets.pictures import expected_inputs
from training.report.heatmaps import HEATMAP_PERCENTILE
from training.report.measures import means
from training.report.scores import STACK, VOTING

CARD: Final = "README.md"
_TITLE: Final = "# The bundle "
# In the data of a bundle that was trained on drawings alone.
OF_PHANTOMS: Final = "phantoms, seeds from"


def write_card(folder: Path, contract: Contract, pointing: dict[str, float]) -> Path:
    """Write `README.md` into the bundle's folder.

    Args:
        pointing: by finding, the share of heatmaps whose maximum lies on the finding.
    """
    path = folder / CARD
    path.write_text("\n".join(_lines(contract, pointing)) + "\n", encoding="utf-8")
    return path


def refresh_card(folder: Path, contract: Contract) -> bool:
    """Write the card of a bundle whose contract has changed, if the one that is there is a card of this kind.

    Returns:
        False where the folder has another README.md, which is left as it is, or none.
    """
    path = folder / CARD
    if not path.is_file() or _TITLE not in path.read_text(encoding="utf-8"):
        return False
    write_card(folder, contract, {})
    return True


def _lines(contract: Contract, pointing: dict[str, float]) -> list[str]:
    lineage = contract.lineage
    return [
        f"{_TITLE}`{contract.name}` {contract.version}",
        "",
        contract.intended_use,
        "",
        *(f"- {limit}" for limit in contract.limits),
        "",
        f"Made by `cxrserve train --recipe {lineage.recipe}` on {lineage.created} from {lineage.data}. "
        f"Profile `{contract.preprocessing.profile}`, fit `{contract.preprocessing.fit}`.",
        "",
        *(_provenance(lineage)),
        "## What it expects of a file",
        "",
        *(f"- {name}: {words}." for name, words in expected_inputs(contract.preprocessing).items()),
        "",
        "## Members",
        "",
        "| size | architecture | parameters | normalisation |",
        "|---|---|---|---|",
        *(
            f"| {member.size} | {member.architecture} | {member.parameters:,} | {member.normalisation} |"
            for member in contract.members
        ),
        "",
        *_measured(contract, pointing, drawn=OF_PHANTOMS in lineage.data),
        *_calibration(contract),
        *film_check_lines(contract),
    ]


def _provenance(lineage: Lineage) -> list[str]:
    lines = [f"The networks started from {lineage.weights}.", ""] if lineage.weights else []
    if lineage.settings:
        lines += ["Not as published:", "", *(f"- `{setting}`" for setting in lineage.settings), ""]
    return lines


_CAVEAT = {
    True: "These are figures about drawings; they say nothing about radiographs.",
    False: "Figures about these images; other hospitals' films are other films.",
}


def _measured(contract: Contract, pointing: dict[str, float], *, drawn: bool) -> list[str]:
    if contract.metrics is None:
        return ["## AUC", "", "Not measured since the stack was fitted; `cxrserve evaluate` does it."]
    folds, table = contract.metrics.folds, contract.metrics.auc
    deviations: dict[str, dict[str, float | None]] = {}
    measured = f"On {contract.metrics.data}, through the path that serves."
    if folds is not None:
        table, deviations = folds.mean, folds.deviation
        measured = (
            f"Mean ± standard deviation over the {folds.count} folds and seeds of the run, each on the test "
            "images of its fold, through the path that serves. This bundle is of "
            f"{contract.lineage.part or 'the first'}; its own figures are in `bundle.json`."
        )
    columns = list(next(iter(table.values())))  # one scale alone has nobody to vote with
    rows = [
        f"| {name} | {' | '.join(_cell(row, deviations.get(name, {}), column) for column in columns)} |"
        for name, row in table.items()
    ]
    mean = means(table)
    of_part = f", of {contract.lineage.part}" if folds is not None and contract.lineage.part else ""
    return [
        "## AUC",
        "",
        f"{measured} {_CAVEAT[drawn]} Bold: the best single scale.",
        "",
        f"| finding | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
        *rows,
        f"| **mean** | {' | '.join(_figure(mean[column]) for column in columns)} |",
        "",
        "## Weight of each scale in the stack, and where the heatmap points",
        "",
        f"Percent{of_part}. The last column is the share of present findings whose heatmap has its maximum "
        "on the finding, or in the cell beside it.",
        "",
        f"| finding | {' | '.join(str(size) for size in contract.preprocessing.sizes)} | points at it |",
        f"|---|{'---|' * len(contract.members)}---|",
        *(
            f"| {name} | {' | '.join(f'{100 * weight:.0f}' for weight in weights)} | "
            f"{f'{100 * pointing[name]:.0f}' if name in pointing else '–'} |"
            for name, weights in zip(contract.findings, contract.stack, strict=True)
        ),
        "",
        _heatmap_scale(contract, "phantoms" if drawn else "images"),
    ]


def _heatmap_scale(contract: Contract, images: str) -> str:
    scales = contract.heatmap_scales.values()
    if scales:
        return (
            f"Heatmaps have a scale for each finding, with full strength from {min(scales):g} to "
            f"{max(scales):g} nats on: the median of the maxima over images where it is present and found."
        )
    return (
        f"Heatmaps are shown at full strength from {contract.heatmap_scale:g} on: the {HEATMAP_PERCENTILE}th "
        f"percentile of the maxima over present findings of the validation {images}."
    )


def _calibration(contract: Contract) -> list[str]:
    """The section on calibration and operating points: the map, its data, and what was measured."""
    if isinstance(contract.calibration, str):
        return ["", "## Calibration", "", "None: a probability is the stack's sum, which is not calibrated."]
    rows = []
    for name, point in contract.operating_points.items():
        calibration = contract.calibration_of(name)
        rows.append(
            f"| {name} | {calibration.method} | {calibration.events} | {calibration.non_events} | "
            f"{point.threshold:.3f} | {_share(point, 'sensitivity')} | {_share(point, 'specificity')} |"
        )
    fitted_on = dict.fromkeys(calibration.data for calibration in contract.calibration.values())
    return [
        "",
        "## Calibration and operating points",
        "",
        f"Fitted on {'; '.join(fitted_on)}, which trained no network. Events and non-events are images with "
        "and without the finding; shares are those at the operating point, with 95 % intervals (Clopper and "
        "Pearson), on the same images.",
        "",
        "| finding | map | events | non-events | threshold | sensitivity | specificity |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _share(point: OperatingPoint, name: Literal["sensitivity", "specificity"]) -> str:
    share = point.measured.get(name)
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})" if share else "–"


def film_check_lines(contract: Contract) -> list[str]:
    """The section on the film check: its references with their attribution, and what was measured."""
    section = contract.film_check
    if section is None:
        return []
    references = [
        f"- `{reference.name}`: {reference.data}."
        + (f" Sources: {'; '.join(reference.attribution)}." if reference.attribution else "")
        for reference in section.references
    ]
    return [
        "",
        "## Film check",
        "",
        f"A network of {section.parameters:,} parameters looks at every image before the members do: whether "
        "it is turned, mirrored, inverted or cut off, and whether the bundle knows such images. It "
        f"was trained on {section.trained_on}. Its references, as numbers without pictures:",
        "",
        *references,
        "",
        "| images | data | count | answer | share |",
        "|---|---|---|---|---|",
        *(
            f"| {row.kind} | {row.data} | {row.films:,} | {row.answer} | "
            f"{100 * row.count / row.films:.1f} % |"
            for row in section.measured
        ),
    ]


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _cell(row: dict[str, float | None], deviations: dict[str, float | None], column: str) -> str:
    value, deviation = row[column], deviations.get(column)
    if value is None:
        return "–"
    single = [other for name, other in row.items() if name not in (VOTING, STACK) and other is not None]
    best = column not in (VOTING, STACK) and value == max(single)
    shown = f"**{value:.3f}**" if best else f"{value:.3f}"
    return shown if deviation is None else f"{shown} ± {deviation:.3f}"
