"""What early decisions need besides the stack: the order of the scales, and conformal margins.

Fitted when a bundle is made, on logits of images that trained no network. They are parted in two: one half
fits the prediction of the ensemble's logit from the coarser scales, the other half measures how far a
settled prediction can lie on the wrong side (`cxrserve.ensemble.triage` says what follows from that).

Legend: N images, F findings, S scales, P predictors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.bundle import EarlyDecisions, Stage, TriageCheck
from cxrserve.ensemble.stack import stacked
from cxrserve.ensemble.triage import Guarantee, Triage, logit, predicted_logits
from cxrserve.findings import NAMES

Floats = NDArray[np.float64]
# Of the scores measured, those above all that anybody would ask an ε for.
TAIL_SHARE: Final = 0.1
FEWEST_IN_TAIL: Final = 10
# Images of which fewer promise nothing worth having.
FEWEST: Final = 40
_RIDGE: Final = 1e-2
# Images on which orders of the scales, and predictions against bounds, are tried.
_TRIED_IMAGES: Final = 200
GUARANTEES: Final[tuple[Guarantee, ...]] = ("exact", "conformal")


def fit_early_decisions(
    logits_NFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    *,
    data: str,
    seed: int,
) -> EarlyDecisions:
    """Everything `Triage` needs, from logits [N, F, S] of at least four images."""
    shuffled = np.random.default_rng(seed).permutation(len(logits_NFS))
    fitted, measured = np.split(logits_NFS[shuffled], [len(logits_NFS) // 2])
    stages = tuple(_fit_stage(fitted, weights_FS, stage) for stage in range(1, len(sizes)))
    order, orders = _orders(fitted[:_TRIED_IMAGES], weights_FS, thresholds_F, sizes)
    early = EarlyDecisions(
        data=data,
        images=len(measured),
        order=order,
        orders=orders,
        predicts=(True,) * len(thresholds_F),
        stages=stages,
        joint_tail=(),
        finding_tails=(),
    )
    scores_NF = conformal_scores(early, measured, weights_FS, thresholds_F)
    early = early.model_copy(
        update={
            "joint_tail": _tail(scores_NF.max(axis=1)),
            "finding_tails": tuple(_tail(scores_N) for scores_N in scores_NF.T),
        }
    )
    return _with_choice(early, fitted[:_TRIED_IMAGES], weights_FS, thresholds_F, sizes)


def _with_choice(
    early: EarlyDecisions,
    logits_NFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
) -> EarlyDecisions:
    """Say where predictions save work. Chosen on the half that measured no margin, so those stay valid."""
    # The tightest promise these images allow, up to the usual one.
    epsilon = max(0.001, 1 / (early.images + 1))

    def saves(findings: list[int]) -> bool:
        work = {
            guarantee: sum(
                decided(early, logits_FS, weights_FS, thresholds_F, sizes, findings, guarantee, epsilon).work
                for logits_FS in logits_NFS
            )
            for guarantee in GUARANTEES
        }
        return work["conformal"] < work["exact"]

    everything = list(range(len(thresholds_F)))
    return early.model_copy(
        update={
            "predicts_all": saves(everything),
            "predicts": tuple(saves([finding]) for finding in everything),
        }
    )


def decided(
    early: EarlyDecisions,
    logits_FS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    findings: list[int],
    guarantee: Guarantee,
    epsilon: float,
) -> Triage:
    """`Triage` over one image, told what it asks for from logits [F, S] that are already there."""
    triage = Triage(
        sizes,
        weights_FS,
        thresholds_F,
        findings=findings,
        guarantee=guarantee,
        early=early,
        epsilon=epsilon,
    )
    while (size := triage.next_size()) is not None:
        triage.tell(size, logits_FS[:, sizes.index(size)])
    return triage


def _fit_stage(logits_NFS: Floats, weights_FS: Floats, stage: int) -> Stage:
    """Ridge regression of the ensemble's logit on what the `stage` coarsest scales said of all findings."""
    said_NP = logits_NFS[:, :, :stage].reshape(len(logits_NFS), -1)
    target_NF = logit(stacked(logits_NFS, weights_FS))
    mean_P, mean_F = said_NP.mean(axis=0), target_NF.mean(axis=0)
    scale_P = said_NP.std(axis=0) + 1e-6
    unit_NP = (said_NP - mean_P) / scale_P
    gram_PP = unit_NP.T @ unit_NP + _RIDGE * len(unit_NP) * np.eye(unit_NP.shape[1])
    slopes_PF = np.linalg.solve(gram_PP, unit_NP.T @ (target_NF - mean_F)) / scale_P[:, None]
    constants_F = mean_F - mean_P @ slopes_PF
    errors_NF = target_NF - (said_NP @ slopes_PF + constants_F)
    coefficients_FP = np.column_stack([slopes_PF.T, constants_F])
    return Stage(
        coefficients=tuple(tuple(round(value, 5) for value in row) for row in coefficients_FP.tolist()),
        spread=tuple(max(round(value, 5), 1e-5) for value in np.sqrt((errors_NF**2).mean(axis=0)).tolist()),
    )


def conformal_scores(
    early: EarlyDecisions, logits_NFS: Floats, weights_FS: Floats, thresholds_F: Floats
) -> Floats:
    """By image and finding [N, F]: the least margin, in spreads, with which no stage settles wrongly.

    A wider margin settles less at every stage, so a margin above an image's score never errs on it: the
    loss is monotone, and its quantile over images bounds the risk.
    """
    probabilities_NF = stacked(logits_NFS, weights_FS)
    above_NF = probabilities_NF >= thresholds_F
    scores_NF = np.zeros_like(probabilities_NF)
    for stage, facts in enumerate(early.stages, start=1):
        distance_NF = predicted_logits(early, logits_NFS, stage) - logit(thresholds_F)
        wrong_NF = (distance_NF >= 0) != above_NF
        scores_NF = np.maximum(
            scores_NF, np.where(wrong_NF, np.abs(distance_NF), 0.0) / np.array(facts.spread)
        )
    return scores_NF


def _tail(scores_N: Floats) -> tuple[float, ...]:
    """The largest scores, falling, each rounded up."""
    count = max(FEWEST_IN_TAIL, int(len(scores_N) * TAIL_SHARE))
    return tuple((np.ceil(np.sort(scores_N)[::-1][:count] * 1e6) / 1e6).tolist())


def _orders(
    logits_NFS: Floats, weights_FS: Floats, thresholds_F: Floats, sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The order of scales with the least work under the exact guarantee: for all findings, for each alone."""
    settled = {
        order: _settled_after(logits_NFS, weights_FS, thresholds_F, sizes, order)
        for order in permutations(sizes)
    }

    def cheapest(findings: slice | int) -> tuple[int, ...]:
        return min(settled, key=lambda order: (_work(settled[order][:, findings], sizes, order), order))

    return cheapest(slice(None)), tuple(cheapest(finding) for finding in range(len(thresholds_F)))


def _settled_after(
    logits_NFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    order: tuple[int, ...],
) -> NDArray[np.int64]:
    """How many scales of `order` settle each finding of each image exactly, int64 [N, F]."""
    columns = [sizes.index(size) for size in order]
    said_NFS = (stacked_parts(logits_NFS, weights_FS)[:, :, columns]).cumsum(axis=2)
    left_FS = 1 - weights_FS[:, columns].cumsum(axis=1)
    open_NFS = (said_NFS < thresholds_F[:, None]) & (said_NFS + left_FS.clip(min=0) >= thresholds_F[:, None])
    open_NFS[:, :, -1] = False
    settled: NDArray[np.int64] = open_NFS.argmin(axis=2) + 1
    return settled


def stacked_parts(logits_NFS: Floats, weights_FS: Floats) -> Floats:
    """What each scale adds to the probability, [N, F, S]."""
    parts: Floats = weights_FS / (1 + np.exp(-logits_NFS.clip(-500, 500)))
    return parts


def _work(settled_NX: NDArray[np.int64], sizes: tuple[int, ...], order: tuple[int, ...]) -> float:
    """Mean share of the work where an image runs scales until the last of its findings is settled."""
    shares = np.cumsum([size**2 for size in order]) / sum(size**2 for size in sizes)
    last_N = settled_NX.reshape(len(settled_NX), -1).max(axis=1)
    return float(shares[last_N - 1].mean())


def check_triage(
    early: EarlyDecisions,
    logits_NFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    *,
    data: str,
    epsilon: float,
    alone: Sequence[int] = range(len(NAMES)),
) -> tuple[TriageCheck, ...]:
    """Decide every image with `Triage` itself: all findings at once, then each of `alone`."""
    full_NF = stacked(logits_NFS, weights_FS) >= thresholds_F
    everything = range(len(NAMES))
    asked: list[tuple[str, list[int]]] = [("all", list(everything)), *((NAMES[f], [f]) for f in alone)]
    checks: list[TriageCheck] = []
    for guarantee in GUARANTEES:
        for name, findings in asked:
            work_N, differs_N = [], []
            for logits_FS, full_F in zip(logits_NFS, full_NF, strict=True):
                triage = decided(
                    early, logits_FS, weights_FS, thresholds_F, sizes, findings, guarantee, epsilon
                )
                work_N.append(triage.work)
                differs_N.append(bool((triage.positive_F != full_F)[findings].any()))
            checks.append(
                TriageCheck(
                    guarantee=guarantee,
                    epsilon=epsilon if guarantee == "conformal" else None,
                    findings=name,
                    data=data,
                    images=len(work_N),
                    differing=sum(differs_N),
                    differing_below=round(_upper(sum(differs_N), len(differs_N)), 6),
                    work=round(float(np.mean(work_N)), 4),
                    work_worst=round(float(np.max(work_N)), 4),
                )
            )
    return tuple(checks)


def _upper(events: int, trials: int) -> float:
    """Upper end of the two-sided 95 % Clopper–Pearson interval, by bisection of the binomial tail."""
    if events == trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(events, trials, middle) > 0.025 else (low, middle)
    return high


def _at_most(events: int, trials: int, share: float) -> float:
    """P(X ≤ events) of a binomial."""
    term = np.log1p(-share) * trials
    logs = [term]
    for k in range(events):
        term += np.log((trials - k) / (k + 1)) + np.log(share) - np.log1p(-share)
        logs.append(term)
    return float(np.exp(np.logaddexp.reduce(logs)))
