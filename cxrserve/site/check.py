"""A site file compared with later labels: the local acceptance test, as numbers and as a page.

Concordance is the share of films whose decision agrees with the label. Legend: N films.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Contract
from cxrserve.bundle.operating_point import MeasuredShare
from cxrserve.ensemble.calibration import calibrated, fit_logistic, log_loss, thresholds
from cxrserve.findings import INDEX, NAMES
from cxrserve.schema import Strict
from cxrserve.site.file import Site, adopted_contract
from cxrserve.site.films import Films, Floats
from cxrserve.site.points import share

_MIN_EVENTS: Final = 5


class FindingCheck(Strict):
    """One finding, under the bundle alone and under the site file."""

    finding: str
    films: int
    events: int
    concordance: MeasuredShare
    sensitivity: MeasuredShare | None
    specificity: MeasuredShare | None
    auc: float | None
    mean_probability: float
    observed: float
    log_loss_bundle: float
    log_loss_site: float
    slope: float | None
    intercept: float | None


class SiteCheck(Strict):
    """`report.json`."""

    site: str
    version: int
    site_sha256: str
    bundle_sha256: str
    films: int
    refused: int
    findings: tuple[FindingCheck, ...]


def check(films: Films, contract: Contract, site: Site, sha256: str) -> SiteCheck:
    """Measure the site's numbers on labelled films."""
    own = adopted_contract(contract, site)
    before_NF, after_NF = calibrated(films.scores_NF, contract), calibrated(films.scores_NF, own)
    threshold_F = thresholds(own)
    checks = []
    for name in NAMES:
        column = INDEX[name]
        labels_N, after_N = films.labels_NF[:, column], after_NF[:, column]
        known_N = ~np.isnan(labels_N) & ~np.isnan(after_N)
        if known_N.any():
            checks.append(
                _check(
                    name,
                    before_NF[known_N, column],
                    after_N[known_N],
                    labels_N[known_N] == 1,
                    float(threshold_F[column]),
                )
            )
    return SiteCheck(
        site=site.name,
        version=site.version,
        site_sha256=sha256,
        bundle_sha256=site.bundle_sha256,
        films=len(films.files),
        refused=int(np.isnan(films.scores_NF).all(axis=1).sum()),
        findings=tuple(checks),
    )


def _check(
    name: str, before_N: Floats, after_N: Floats, positive_N: NDArray[np.bool_], threshold: float
) -> FindingCheck:
    decided_N = after_N >= threshold
    events = int(positive_N.sum())
    others = len(positive_N) - events
    enough = min(events, others) >= _MIN_EVENTS
    line = fit_logistic(np.log(after_N) - np.log1p(-after_N), positive_N, ridge=0.0) if enough else None
    return FindingCheck(
        finding=name,
        films=len(positive_N),
        events=events,
        concordance=share(int((decided_N == positive_N).sum()), len(positive_N)),
        sensitivity=share(int((decided_N & positive_N).sum()), events) if events else None,
        specificity=share(int((~decided_N & ~positive_N).sum()), others) if others else None,
        auc=_auc(after_N, positive_N) if events and others else None,
        mean_probability=float(after_N.mean()),
        observed=events / len(positive_N),
        log_loss_bundle=log_loss(before_N, positive_N),
        log_loss_site=log_loss(after_N, positive_N),
        slope=None if line is None else line.slope,
        intercept=None if line is None else line.intercept,
    )


def _auc(probabilities_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    """Share of pairs of a positive and a negative film in the right order; ties count one half."""
    positives, negatives = probabilities_N[positive_N], np.sort(probabilities_N[~positive_N])
    below = np.searchsorted(negatives, positives, side="left")
    ties = np.searchsorted(negatives, positives, side="right") - below
    return float((below + ties / 2).mean() / len(negatives))


_COLUMNS: Final[tuple[tuple[str, Callable[[FindingCheck], str]], ...]] = (
    ("finding", lambda item: item.finding),
    ("films", lambda item: str(item.films)),
    ("with it", lambda item: str(item.events)),
    ("agree with the label", lambda item: _share(item.concordance)),
    ("sensitivity", lambda item: _share(item.sensitivity)),
    ("specificity", lambda item: _share(item.specificity)),
    ("AUC", lambda item: _number(item.auc)),
    ("mean probability", lambda item: _number(item.mean_probability)),
    ("share with it", lambda item: _number(item.observed)),
    ("log loss, bundle", lambda item: _number(item.log_loss_bundle)),
    ("log loss, site", lambda item: _number(item.log_loss_site)),
    ("slope", lambda item: _number(item.slope)),
    ("intercept", lambda item: _number(item.intercept)),
)


def page(report: SiteCheck) -> str:
    """`report.html`: the same figures as a table, in one file that loads nothing."""
    heads = "".join(f'<th scope="col">{title}</th>' for title, _ in _COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(item))}</td>" for _, cell in _COLUMNS) + "</tr>"
        for item in report.findings
    )
    title = html.escape(f"Acceptance test of site {report.site} v{report.version}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;margin:40px;max-width:1200px}table{border-collapse:collapse}"
        "td,th{padding:5px 14px 5px 0;text-align:right;border-bottom:1px solid #ccc}"
        "td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>{title}</h1><p>{report.films} films, {report.refused} of them refused. Shares with their 95 % "
        "intervals (Clopper and Pearson). Slope 1 and intercept 0 are perfect calibration.</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>Site file {report.site_sha256}, bundle {report.bundle_sha256}.</p>"
        "<p>Research use only. Not for diagnosis.</p></html>\n"
    )


def _share(value: MeasuredShare | None) -> str:
    return "–" if value is None else f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
