"""The papers' claims about image resolution, each beside what a report's figures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.report.evaluation import Evaluation, FindingResult
from training.report.html import Markup, table
from training.report.scores import STACK, VOTING
from training.report.style import label_of, signed

HAQUE: Final = "Haque 2021"
CHIZARI: Final = "Chizari"
# Haque et al. 2021, sections 3.3 to 3.5.
LEAST_GAIN: Final = 0.004
GAIN_OVER_1024: Final = 0.011
ON_BEST: Final = 10 / 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim of a paper.

    Attributes:
        here: what the figures show, in words.
        holds: None where the figures cannot tell.
    """

    paper: str
    claim: str
    here: str
    holds: bool | None


def claims_of(evaluation: Evaluation) -> list[Claim]:
    """The claims that a bundle with several scales can support or contradict; empty with one scale."""
    sizes = [str(size) for size in evaluation.sizes]
    if len(sizes) < 2:
        return []
    return [
        *_of_scales(evaluation),
        *_of_the_stack(evaluation, sizes),
        _trend(evaluation, sizes, "Cardiomegaly", rising=False),
        _trend(evaluation, sizes, "Pneumothorax", rising=True),
        *_of_weights(evaluation, sizes),
        *_of_fields(evaluation, sizes),
        *_of_resolution(evaluation, sizes),
    ]


def claims_table(claims: Sequence[Claim]) -> Markup:
    """The claims, what is seen here, and whether they hold."""
    answers = {True: "yes", False: "no", None: "cannot be told"}
    return table(
        ["paper", "claim", "here", "holds here"],
        [[claim.paper, claim.claim, claim.here, answers[claim.holds]] for claim in claims],
        text_columns=(1, 2),
    )


def _auc(result: FindingResult) -> dict[str, float]:
    """AUC by column: over the folds where there are several."""
    if result.folds:
        return {column: part.mean for column, part in result.folds.items()}
    return {column: interval.value for column, interval in result.auc.items()}


def _of_scales(evaluation: Evaluation) -> list[Claim]:
    wins = evaluation.wins
    counted = sum(wins.values())
    here = ", ".join(f"{label_of(size)} for {count}" for size, count in wins.items())
    return [
        Claim(
            paper=HAQUE,
            claim="Every scale is the best single one for at least one finding.",
            here=f"best of {counted} findings: {here}" if counted else "no finding has two scales",
            holds=all(wins.values()) if counted else None,
        )
    ]


def _of_the_stack(evaluation: Evaluation, sizes: Sequence[str]) -> list[Claim]:
    gains = {result.name: result.over_best.value for result in evaluation.findings if result.over_best}
    worst = min(gains, key=lambda name: gains[name]) if gains else ""
    means = evaluation.shown_means
    single = {size: means[size] for size in sizes if size in means}
    claims = [
        Claim(
            paper=HAQUE,
            claim="The ensemble has the highest AUC of every finding.",
            here=f"above every single scale for {sum(gain > 0 for gain in gains.values())} of {len(gains)}",
            holds=all(gain > 0 for gain in gains.values()) if gains else None,
        ),
        Claim(
            paper=HAQUE,
            claim="It is at least 0.4 % AUC above the best single scale of each finding.",
            here=f"least gain {signed(gains[worst])} ({worst})" if gains else "no finding has two scales",
            holds=gains[worst] >= LEAST_GAIN if gains else None,
        ),
    ]
    if not single or STACK not in means:
        return claims
    other = "1024" if "1024" in single else max(single, key=lambda size: single[size])
    gain = means[STACK] - single[other]
    best = "1024 px" if other == "1024" else f"the best scale by mean, {label_of(other)} (1024 in the paper)"
    return [
        *claims,
        Claim(
            paper=HAQUE,
            claim="On average it is 1.1 % AUC above 1024 px.",
            here=f"{signed(gain)} over {best}",
            holds=gain >= GAIN_OVER_1024,
        ),
        Claim(
            paper=HAQUE,
            claim="Plain averaging performs nearly as well as the stack (here: within 0.4 % AUC).",
            here=f"the stack is {signed(means[STACK] - means[VOTING])} from it",
            holds=abs(means[STACK] - means[VOTING]) < LEAST_GAIN,
        ),
    ]


def _trend(evaluation: Evaluation, sizes: Sequence[str], name: str, *, rising: bool) -> Claim:
    auc = next(_auc(result) for result in evaluation.findings if result.name == name)
    values = [auc[size] for size in sizes if size in auc]
    steps = np.diff(values) if rising else -np.diff(values)
    word = "rises" if rising else "falls"
    return Claim(
        paper=HAQUE,
        claim=f"The AUC of {name} {word} as the image grows.",
        here=" → ".join(f"{value:.3f}" for value in values) or "not known here",
        holds=bool((steps > 0).all()) if len(values) > 1 else None,
    )


def _of_weights(evaluation: Evaluation, sizes: Sequence[str]) -> list[Claim]:
    compared = [result for result in evaluation.findings if result.best and result.name in evaluation.weights]
    largest = {name: max(row, key=lambda size: row[size]) for name, row in evaluation.weights.items()}
    count = sum(largest[result.name] == result.best for result in compared)
    claim = Claim(
        paper=HAQUE,
        claim="For ten of fourteen findings the largest weight sits on the best single scale.",
        here=f"for {count} of {len(compared)}",
        holds=count >= ON_BEST * len(compared) if compared else None,
    )
    row = evaluation.weights.get("Atelectasis", {})
    if not row or "Atelectasis" not in {result.name for result in compared}:
        return [claim]
    on_best = next(result.best for result in compared if result.name == "Atelectasis") or sizes[0]
    return [
        claim,
        Claim(
            paper=HAQUE,
            claim="Atelectasis has its largest weight, 32.7 %, on its best scale, 1024 px.",
            here=f"best {label_of(on_best)} with {100 * row[on_best]:.1f} %; largest "
            f"{100 * max(row.values()):.1f} % on {label_of(largest['Atelectasis'])}",
            holds=largest["Atelectasis"] == on_best,
        ),
    ]


def _of_fields(evaluation: Evaluation, sizes: Sequence[str]) -> list[Claim]:
    radii = [evaluation.fields[size].radius_50 for size in sizes if size in evaluation.fields]
    if len(radii) < 2:
        return []
    return [
        Claim(
            paper=HAQUE,
            claim="The effective receptive field shrinks, relative to the image, as the image grows.",
            here="half of its energy within " + " → ".join(f"{100 * radius:.1f} %" for radius in radii),
            holds=bool((np.diff(radii) < 0).all()),
        )
    ]


def _of_resolution(evaluation: Evaluation, sizes: Sequence[str]) -> list[Claim]:
    means = [evaluation.shown_means[size] for size in sizes if size in evaluation.shown_means]
    claims = [
        Claim(
            paper=CHIZARI,
            claim="The largest images have the highest mean AUC (480 px, with DenseNet161).",
            here=" → ".join(f"{mean:.3f}" for mean in means) or "no finding has every scale",
            holds=means[-1] > max(means[:-1]) if len(means) > 1 else None,
        )
    ]
    deviations = [evaluation.fold_means[size].deviation for size in sizes if size in evaluation.fold_means]
    if len(deviations) > 1:
        claims.append(
            Claim(
                paper=CHIZARI,
                claim="The standard deviation over seeds grows with the image.",
                here=" → ".join(f"{deviation:.4f}" for deviation in deviations),
                holds=bool((np.diff(deviations) > 0).all()),
            )
        )
    return claims
