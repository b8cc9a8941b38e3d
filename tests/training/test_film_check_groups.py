"""The report's section on whom the film check refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.bundle.contract import read_contract
from cxrserve.findings import INDEX
from tests.bundles import write_tiny_bundle
from training.phantom.pyramids import phantom_pyramids
from training.report import film_check_groups
from training.report.facts import People
from training.report.figures_decisions import refusals_figure
from training.report.film_check_groups import FilmCheckResult, measure_film_check, uneven_words
from training.report.style import as_svg

_DEMO = Path("models/demo")
_COPIES = 24


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """Some phantoms, each several times; those of the second half lie upside down."""

    level_NSS: NDArray[np.uint8]
    labels_NF: NDArray[np.float32]
    locations_NFGG: NDArray[np.uint8] | None = None

    @property
    def study_N(self) -> NDArray[np.int64]:
        return np.arange(len(self))

    def __len__(self) -> int:
        return len(self.level_NSS)

    def level(self, size: int) -> NDArray[np.uint8]:
        assert size == 256
        return self.level_NSS


@pytest.fixture(scope="module")
def samples() -> _Samples:
    contract, _ = read_contract(_DEMO)
    upright_SS = phantom_pyramids(contract.preprocessing)[0][256]
    level_NSS = np.stack([upright_SS] * _COPIES + [np.rot90(upright_SS, 2)] * _COPIES)
    labels_NF = np.zeros((2 * _COPIES, 14), np.float32)
    labels_NF[_COPIES:, INDEX["Edema"]] = 1
    return _Samples(level_NSS=level_NSS, labels_NF=labels_NF)


@pytest.fixture(scope="module")
def result(samples: _Samples) -> FilmCheckResult:
    people = People(
        view_N=np.array(["PA"] * _COPIES + ["AP"] * _COPIES),
        sex_N=np.array(["unknown"] * 2 * _COPIES),
        age_N=np.full(2 * _COPIES, np.nan),
    )
    measured = measure_film_check(_DEMO, samples, people)
    assert measured is not None
    return measured


def test_who_is_refused_is_counted_by_group(result: FilmCheckResult) -> None:
    shares = {share.group: share.refused.value for share in result.groups}
    assert shares == {"all images": 0.5, "AP": 1.0, "PA": 0.0, "Edema": 1.0}
    assert result.reasons["refused: turned"] == _COPIES


def test_shares_have_intervals(result: FilmCheckResult) -> None:
    share = next(share for share in result.groups if share.group == "PA")
    assert share.refused.low == 0
    assert share.refused.high == pytest.approx(1 - 0.025 ** (1 / _COPIES))  # Clopper and Pearson, no event


def test_a_bundle_without_a_film_check_has_no_section(tmp_path: Path, samples: _Samples) -> None:
    assert measure_film_check(write_tiny_bundle(tmp_path / "bundle", sizes=(64,)), samples, None) is None


def test_a_group_that_is_refused_far_more_often_is_named(
    samples: _Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(
        view_N=np.array(["PA"] * _COPIES + ["AP"] * _COPIES),
        sex_N=np.array(["F", "M"] * _COPIES),
        age_N=np.full(2 * _COPIES, np.nan),
    )
    monkeypatch.setattr(film_check_groups, "MIN_JUDGED", _COPIES)
    judged = measure_film_check(_DEMO, samples, people)
    assert judged is not None
    assert [share.group for share in judged.groups if share.uneven] == ["AP", "Edema"]
    words = [words for share in judged.groups if (words := uneven_words(share))]
    assert words[0].startswith(
        "The film check refuses 100.0% of the images with view AP, and 0.0% of the others"
    )
    monkeypatch.setattr(film_check_groups, "MIN_JUDGED", _COPIES + 1)
    small = measure_film_check(_DEMO, samples, people)
    assert small is not None
    assert not any(share.uneven for share in small.groups)
    drawing = as_svg(refusals_figure(judged))
    assert "view: AP" in drawing
