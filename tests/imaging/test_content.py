"""The content check refuses noise, text and drawings, and passes bodies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxrserve.errors import NotAChestRadiograph
from cxrserve.imaging.content import check_content, neighbour_correlation, two_greys_share


def _small(grey: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(grey, (256, 256), interpolation=cv2.INTER_AREA))


def _check(grey: np.ndarray) -> None:
    check_content(grey, _small(grey))


def _page() -> np.ndarray:
    page = np.full((1500, 1200), 255, np.uint8)
    for row in range(60, 1450, 30):
        cv2.putText(
            page, "The quick brown fox jumps over the lazy dog", (40, row), cv2.FONT_HERSHEY_SIMPLEX, 1, 0, 2
        )
    return page


def _body(border: float = 0.0) -> np.ndarray:
    """A bright oval with a soft edge and noise; `border` is the share of black on the left."""
    rows, columns = np.indices((600, 500)) / np.array([600, 500])[:, None, None] - 0.5
    grey = 40 + 180 * np.exp(-6 * (rows**2 + columns**2)) + np.random.default_rng(0).normal(0, 6, (600, 500))
    grey[:, : int(border * 500)] = 0
    body: np.ndarray = grey.clip(0, 255).astype(np.uint8)
    return body


@pytest.mark.parametrize("side", [256, 700, 2048])
def test_noise_is_refused(side: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (side, side)).astype(np.uint8)
    with pytest.raises(NotAChestRadiograph, match="hardly alike"):
        _check(noise)


def test_a_page_of_text_is_refused() -> None:
    with pytest.raises(NotAChestRadiograph, match=r"text|page"):
        _check(_page())


def test_a_drawing_of_two_greys_is_refused() -> None:
    drawing = np.zeros((800, 800), np.uint8)
    cv2.circle(drawing, (400, 400), 250, 255, -1)
    with pytest.raises(NotAChestRadiograph, match="two grey values make up 100%"):
        _check(drawing)


@pytest.mark.parametrize("border", [0.0, 0.3, 0.6])
def test_a_body_passes_whatever_its_border(border: float) -> None:
    _check(_body(border))


def test_the_questions_have_answers_far_apart() -> None:
    assert neighbour_correlation(_small(_body())) > 0.94
    assert neighbour_correlation(_small(_page())) < 0.6
    assert two_greys_share(_body()) < 0.1
    assert two_greys_share(_page()) > 0.85
