"""CLAIM 2024 and TRIPOD+AI 2024 as tables: where an item stands in the bundle, or that it is yours to write.

The items are named by their number and subject, not by the wording of the checklists.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from training.evidence.figures import REPORT, Evidence

YOURS: Final = "for you to write"


class Item(NamedTuple):
    """One item of a checklist, and where it stands."""

    number: str
    subject: str
    where: str


def claim(evidence: Evidence) -> list[Item]:
    """CLAIM, the checklist for artificial intelligence in medical imaging, update of 2024."""
    lineage = "bundle.json, lineage"
    return [
        Item("1-2", "title and abstract", YOURS),
        Item("3-4", "background, aims and hypotheses", YOURS),
        Item("5-6", "study design and goal", YOURS),
        Item("7", "data sources", f"{lineage}.data"),
        Item("8", "inclusion and exclusion of images", YOURS),
        Item("9", "preprocessing", "bundle.json, preprocessing"),
        Item("10", "selection of parts of the data", f"{lineage}.split_sha256"),
        Item("11", "de-identification", YOURS),
        Item("12", "missing data", f"{lineage}.settings"),
        Item("13", "image acquisition", YOURS),
        Item("14-18", "reference standard and its variability", YOURS),
        Item("19", "sample size", f"{REPORT}, count"),
        Item("20-21", "partitions and their level", f"{lineage}.split_sha256"),
        Item("22", "model", "bundle.json, members"),
        Item("23", "software", f"{lineage}.code_version"),
        Item("24", "initial weights", f"{lineage}.weights"),
        Item("25", "training", f"{lineage}.recipe and recipe_sha256"),
        Item("26", "choice of the final model", f"{lineage}.steps"),
        Item("27", "ensemble", "bundle.json, stack"),
        Item("28", "measures", f"{REPORT}, findings"),
        Item("29", "uncertainty of the measures", f"{REPORT}, method"),
        Item("30", "robustness", f"{REPORT}, groups" if evidence.report.get("groups") else YOURS),
        Item("31", "explainability", "report.html, heatmaps"),
        Item("32-33", "evaluation on other data", YOURS),
        Item("34", "flow of participants", YOURS),
        Item("35", "demographics", f"{REPORT}, groups" if evidence.report.get("groups") else YOURS),
        Item("36-37", "performance and its intervals", f"{REPORT}, findings"),
        Item("38", "failures", "report.html"),
        Item("39", "limitations", "bundle.json, limits"),
        Item("40", "implications", YOURS),
        Item("41-44", "registration, protocol, code, funding", YOURS),
    ]


def tripod(evidence: Evidence) -> list[Item]:
    """TRIPOD+AI, reporting of prediction models, 2024."""
    lineage = "bundle.json, lineage"
    return [
        Item("1-2", "title and abstract", YOURS),
        Item("3-4", "background and objectives", YOURS),
        Item("5", "data", f"{lineage}.data"),
        Item("6", "participants", YOURS),
        Item("7", "data preparation", "bundle.json, preprocessing"),
        Item("8", "outcome", "bundle.json, findings"),
        Item("9", "predictors", "bundle.json, members"),
        Item("10", "sample size", f"{REPORT}, count"),
        Item("11", "missing data", f"{lineage}.settings"),
        Item("12", "analytical methods", f"{lineage}.recipe; {REPORT}, method"),
        Item("13", "class imbalance", YOURS),
        Item("14", "fairness", f"{REPORT}, groups" if evidence.report.get("groups") else YOURS),
        Item("15", "model output", "bundle.json, calibration and operating_points"),
        Item("16", "training against evaluation", f"{lineage}.split_sha256"),
        Item("17", "ethical approval", YOURS),
        Item("18", "open science", YOURS),
        Item("19", "patient and public involvement", YOURS),
        Item("20", "participants", YOURS),
        Item("21", "model development", f"{REPORT}, fits"),
        Item("22", "model specification", "bundle.json"),
        Item("23", "model performance", f"{REPORT}, findings"),
        Item("24", "model updating", "the history of a site file: cxrserve site history"),
        Item("25", "interpretation", YOURS),
        Item("26", "limitations", "bundle.json, limits"),
        Item("27", "usability in practice", YOURS),
    ]


def page(evidence: Evidence) -> str:
    """Both tables, in Markdown."""
    lines = [f"# Checklists: `{evidence.contract.name}` {evidence.contract.version}", ""]
    for title, items in (("CLAIM 2024", claim(evidence)), ("TRIPOD+AI 2024", tripod(evidence))):
        lines += [f"## {title}", "", "| item | subject | where |", "|---|---|---|"]
        lines += [f"| {number} | {subject} | {where} |" for number, subject, where in items]
        lines.append("")
    return "\n".join(lines)
