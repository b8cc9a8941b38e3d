"""Tables and cards of a run: over its folds, and with names that can be typed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cxrserve.bundle.contract import Contract, Metrics, read_contract
from cxrserve.findings import NAMES
from tests.bundles import write_tiny_bundle
from training.cli.tables import recipes_table, result_table
from training.recipes import RECIPES
from training.report.averages import over_folds
from training.steps.model_card import write_card

SIZES = (64, 128)
COLUMNS = ("64", "128", "voting", "stack")


def auc(**by_column: float) -> dict[str, dict[str, float | None]]:
    """Atelectasis alone has values."""
    row: dict[str, float | None] = {column: by_column.get(f"of_{column}") for column in COLUMNS}
    return {name: row if name == "Atelectasis" else dict.fromkeys(COLUMNS) for name in NAMES}


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """The first fold finds 64 px best; over both it is 128 px."""
    made, _ = read_contract(write_tiny_bundle(tmp_path_factory.mktemp("tables") / "tiny", SIZES))
    first = auc(of_64=0.8, of_128=0.7, of_voting=0.8, of_stack=0.8)
    other = auc(of_64=0.6, of_128=0.9, of_voting=0.8, of_stack=0.9)
    metrics = Metrics(data="20 test images", images=20, auc=first, folds=over_folds([first, other]))
    lineage = made.lineage.model_copy(update={"part": "fold 1 of 2"})
    return made.model_copy(update={"metrics": metrics, "lineage": lineage})


def printed(table: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_bundle_holds_means_over_the_folds(contract: Contract) -> None:
    assert contract.metrics is not None
    folds = contract.metrics.folds
    assert folds is not None
    assert folds.count == 2
    assert folds.mean["Atelectasis"]["64"] == pytest.approx(0.7)
    assert folds.deviation["Atelectasis"]["64"] == pytest.approx(0.1414, abs=1e-4)
    assert folds.mean["Edema"]["64"] is None
    assert over_folds([auc(of_64=0.8)]) is None
    assert Contract.model_validate_json(contract.model_dump_json()) == contract


def test_the_printed_table_is_over_the_folds(contract: Contract) -> None:
    text = printed(result_table(contract))
    assert "0.700 ± 0.141" in text
    assert "over 2 folds and seeds" in text
    assert contract.metrics is not None
    alone = contract.metrics.model_copy(update={"folds": None})
    text = printed(result_table(contract.model_copy(update={"metrics": alone})))
    assert "±" not in text
    assert "0.800" in text


def test_the_card_is_over_the_folds_and_says_what_a_file_must_be(contract: Contract, tmp_path: Path) -> None:
    text = write_card(tmp_path, contract, {}).read_text(encoding="utf-8")
    assert "| Atelectasis | 0.700 ± 0.141 | **0.800** ± 0.141 |" in text
    assert "| **mean** | 0.700 | 0.800 |" in text
    assert "over the 2 folds and seeds" in text
    assert "This bundle is of fold 1 of 2" in text
    assert "- JPEG: " in text


def test_no_name_of_a_recipe_is_cut() -> None:
    text = printed(recipes_table(), width=80)
    for name in RECIPES:
        assert f" {name} " in text
