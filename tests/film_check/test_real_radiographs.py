"""The demo's film check, trained on phantoms alone, on real radiographs where they are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.film_check.decision import decide
from cxrserve.film_check.look import Looker
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.warnings import WarningCode
from tests.conftest import REALDATA

DEMO: Final = Path(__file__).parents[2] / "models" / "demo"
# Share of pictures whose turn, and whose polarity, must be recognised.
SHARE: Final = 0.97

pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason=f"{REALDATA.name} is not beside the repository")


@pytest.fixture(scope="module")
def looker() -> Looker:
    bundle = load_bundle(DEMO)
    assert bundle.contract.film_check is not None
    assert bundle.film_check_model is not None
    return Looker(bundle.contract.film_check, bundle.film_check_model)


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Upright radiographs as the check sees them, uint8 [256, 256]."""
    preprocessing = load_bundle(DEMO).contract.preprocessing
    paths = sorted(path for path in (REALDATA / "cxr").iterdir() if path.suffix in (".jpg", ".png"))
    assert len(paths) >= 30
    return [prepare(path.read_bytes(), preprocessing, Limits()).levels[256] for path in paths]


def test_turn_and_polarity_are_recognised(looker: Looker, pictures: list[NDArray[np.uint8]]) -> None:
    turns, polarities = [], []
    for upright_SS in pictures:
        for quarters in range(4):
            for inverted in (False, True):
                picture_SS = np.ascontiguousarray(np.rot90(upright_SS, quarters))
                look = looker.look(255 - picture_SS if inverted else picture_SS)
                turns.append(look.quarters == quarters)
                polarities.append((look.inverted_probability >= 0.5) == inverted)
    assert np.mean(turns) >= SHARE
    assert np.mean(polarities) >= SHARE


def test_no_upright_radiograph_is_refused_and_each_is_unlike_the_drawings(
    looker: Looker, pictures: list[NDArray[np.uint8]]
) -> None:
    for picture_SS in pictures:
        decision = decide(looker.look(picture_SS), looker.section)
        assert decision.refusal is None
        assert WarningCode.UNLIKE_TRAINING in {warning.code for warning in decision.warnings}
