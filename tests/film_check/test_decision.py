"""The table of what the film check does about what it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxrserve.bundle.film_check import FilmCheck
from cxrserve.errors import ImageError, InvertedImage, NotAChestRadiograph, TurnedImage, ViewNotCovered
from cxrserve.film_check.decision import Decision, decide
from cxrserve.film_check.look import Look
from cxrserve.imaging.correction import NO_CORRECTION, Correction
from cxrserve.settings import FilmCorrection
from cxrserve.warnings import WarningCode
from tests.film_check.looks import UPRIGHT, reference, section, unlike


def codes(decision: Decision) -> list[WarningCode]:
    assert decision.refusal is None
    return [warning.code for warning in decision.warnings]


def turned(quarters: int, probability: float) -> Look:
    return replace(UPRIGHT, quarters=quarters, quarters_probability=probability)


def inverted(probability: float) -> Look:
    return replace(UPRIGHT, inverted_probability=probability)


def test_a_good_film_passes_without_a_word() -> None:
    assert decide(UPRIGHT, section()) == Decision()


@pytest.mark.parametrize(
    ("quarters", "word"), [(1, "counter-clockwise"), (2, "upside down"), (3, "turned clockwise")]
)
def test_a_turned_film_is_refused_with_its_turn(quarters: int, word: str) -> None:
    refusal = decide(turned(quarters, 0.99), section()).refusal
    assert isinstance(refusal, TurnedImage)
    assert word in refusal.detail
    assert (refusal.slug, refusal.http_status) == ("turned", 422)


def test_an_inverted_film_is_refused_and_a_false_tag_named() -> None:
    refusal = decide(inverted(0.995), section(), declared_inverted=True).refusal
    assert isinstance(refusal, InvertedImage)
    assert "MONOCHROME1" in refusal.detail
    plain = decide(inverted(0.995), section()).refusal
    assert plain is not None
    assert "MONOCHROME1" not in plain.detail


@pytest.mark.parametrize("correction", ["none", "turn", "invert", "both"])
def test_below_certainty_there_is_a_warning_and_never_a_correction(correction: FilmCorrection) -> None:
    for look, code in ((turned(1, 0.98), WarningCode.TURNED), (inverted(0.98), WarningCode.INVERTED)):
        decision = decide(look, section(), correction=correction)
        assert codes(decision) == [code]
        assert decision.correction == NO_CORRECTION
    assert codes(decide(turned(1, 0.49), section())) == []


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        ("turn", Correction(quarters=3)),
        ("invert", Correction(inverted=True)),
        ("both", Correction(quarters=3, inverted=True)),
    ],
)
def test_only_what_is_allowed_is_corrected(correction: FilmCorrection, expected: Correction) -> None:
    look = replace(turned(3, 1.0), inverted_probability=1.0)
    decision = decide(look, section(), mode="warn", correction=correction)
    assert decision.correction == expected
    assert codes(decision) == [WarningCode.TURNED, WarningCode.INVERTED]
    refused = decide(look, section(), correction=correction).refusal
    assert (refused is None) == (correction == "both")


def test_a_picture_of_nothing_known_is_never_corrected() -> None:
    look = replace(unlike("training", "films"), quarters=2)
    assert decide(look, section(), mode="warn", correction="both").correction == NO_CORRECTION
    assert isinstance(decide(look, section(), correction="both").refusal, TurnedImage)


@pytest.mark.parametrize("mirrored", [0.6, 1.0])
def test_a_mirrored_film_gets_a_warning_alone(mirrored: float) -> None:
    decision = decide(replace(UPRIGHT, mirrored_probability=mirrored), section(), correction="both")
    assert codes(decision) == [WarningCode.MIRRORED]
    assert decision.correction == NO_CORRECTION


def test_mirrored_and_cut_are_measured_by_the_nearest_reference() -> None:
    tolerant = reference("films", own=False).model_copy(update={"mirrored": 0.95, "cut": (0.9,) * 4})
    look = replace(UPRIGHT, mirrored_probability=0.9, cut_4=(0.8, 0.1, 0.8, 0.1))
    both = section(reference("training", own=True), tolerant)
    assert codes(decide(look, both)) == [WarningCode.MIRRORED, WarningCode.CUT_OFF]
    assert codes(decide(replace(look, nearest="films"), both)) == []


def test_cut_sides_are_named() -> None:
    decision = decide(replace(UPRIGHT, cut_4=(0.5, 0.0, 0.0, 0.5)), section())
    assert "above and at the left" in decision.warnings[0].message


def test_a_film_of_another_kind_is_unlike_the_training() -> None:
    decision = decide(unlike("training"), section())
    assert codes(decision) == [WarningCode.UNLIKE_TRAINING]
    drawn = section(reference("training", own=True, measured_on="phantoms"), reference("films", own=False))
    assert "unlike the drawings" in decide(unlike("training"), drawn).warnings[0].message


def test_what_no_reference_knows_may_be_no_chest() -> None:
    decision = decide(unlike("training", "films"), section())
    assert codes(decision) == [WarningCode.NOT_A_CHEST, WarningCode.UNLIKE_TRAINING]


@pytest.mark.parametrize(
    ("check", "refused"),
    [
        (section(reference("training", own=True, films=1000), reference("films", own=False)), True),
        (section(reference("training", own=True, films=999), reference("films", own=False)), False),
        (
            section(
                reference("training", own=True, films=1000, measured_on="phantoms"),
                reference("films", own=False),
            ),
            False,
        ),
    ],
)
def test_only_a_thousand_radiographs_refuse_what_is_strange(check: FilmCheck, refused: bool) -> None:
    refusal = decide(unlike("training", "films"), check).refusal
    assert isinstance(refusal, NotAChestRadiograph) == refused
    assert decide(unlike("training"), check).refusal is None


def test_a_view_that_the_members_do_not_know() -> None:
    check = section(views=("PA", "AP", "lateral"), refused_views=("lateral",))
    look = replace(UPRIGHT, view="lateral", view_probability=0.995)
    refusal = decide(look, check).refusal
    assert isinstance(refusal, ViewNotCovered)
    assert "view" in refusal.slug
    assert codes(decide(look, check, mode="warn")) == [WarningCode.VIEW_NOT_COVERED]
    assert codes(decide(replace(look, view_probability=0.9), check)) == [WarningCode.VIEW_NOT_COVERED]


def test_the_header_names_another_view() -> None:
    check = section(views=("PA", "AP"))
    look = replace(UPRIGHT, view="AP", view_probability=0.999)
    assert codes(decide(look, check, view_position="PA")) == [WarningCode.VIEW_CONTRADICTION]
    assert codes(decide(look, check, view_position="AP")) == []
    assert codes(decide(look, check, view_position="LL")) == []


@pytest.mark.parametrize("look", [turned(2, 1.0), inverted(1.0)])
def test_in_the_mode_warn_nothing_is_refused(look: Look) -> None:
    assert len(codes(decide(look, section(), mode="warn"))) == 1


def test_every_refusal_is_an_image_error_with_a_remedy() -> None:
    for look in (turned(1, 1.0), inverted(1.0)):
        refusal = decide(look, section()).refusal
        assert isinstance(refusal, ImageError)
        assert "Send" in refusal.detail
