"""`cxrserve models evidence`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def evidence(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder, with the report of `evaluate`.")],
    words: Annotated[
        Path | None, typer.Option(help="card.yaml: developer, funding, intended users and other words.")
    ] = None,
) -> None:
    """Write the documents that hospitals and registries ask for, from the bundle and its report.

    CHAI model card (XML), CycloneDX 1.6 ML-BOM, Hugging Face front matter in README.md, and the checklists
    CLAIM and TRIPOD+AI. Every number comes from report.json; words that are missing are written as not said.
    """
    from training.evidence.bom import bom
    from training.evidence.card import front_matter, write_front_matter
    from training.evidence.chai import chai_card
    from training.evidence.checklists import page
    from training.evidence.figures import read_evidence
    from training.evidence.people import page as subgroups
    from training.evidence.words import read_words

    said = read_words(words)
    read = read_evidence(bundle)
    folder = bundle / "evidence"
    folder.mkdir(exist_ok=True)
    (folder / "model-card.xml").write_bytes(chai_card(read, said))
    (folder / "bom.json").write_bytes(bom(read))
    (folder / "checklists.md").write_text(page(read), "utf-8")
    if read.report.get("people"):
        (folder / "subgroups.md").write_text(subgroups(read.report["people"]), "utf-8")
    write_front_matter(bundle, front_matter(read, said))
    Console(soft_wrap=True).print(
        f"{len(read.figures)} figures of report.json are in {folder} and in README.md", markup=False
    )
