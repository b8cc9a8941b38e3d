"""The decision about a film: refuse it, warn, or analyse it turned or inverted, and the reason for it.

Never below a probability of `CERTAIN` is a film refused or corrected for how it lies. A mirrored film is
neither: the heart may lie on the right. A distance refuses only by a reference of at least a thousand
radiographs; distances from few films, or from drawings, do not carry over to other hospitals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxrserve.bundle.film_check import FilmCheck, Reference
from cxrserve.errors import ImageError, InvertedImage, NotAChestRadiograph, TurnedImage, ViewNotCovered
from cxrserve.film_check.look import SIDES, Look
from cxrserve.imaging.correction import NO_CORRECTION, Correction
from cxrserve.settings import FilmCheckMode, FilmCorrection
from cxrserve.warnings import ImageWarning, WarningCode

CERTAIN: Final = 0.99
LIKELY: Final = 0.5
# A film is known to a reference unless it is stranger than about 99 % of its films; beyond 99.9 % of a large
# one it is refused.
KNOWN: Final = 0.01
REFUSED: Final = 0.001
# Below these a warning would be noise, whatever the reference says.
_MIN_CUT: Final = 0.15
_MIN_MIRRORED: Final = 0.3

_LIES: Final = {
    1: "on its side, turned counter-clockwise by 90°",
    2: "upside down",
    3: "on its side, turned clockwise by 90°",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The decision about one film.

    Attributes:
        refusal: the error to raise, None where the film is analysed.
        warnings: for the answer, where it is.
        correction: for the stored values; none where the film is analysed as it lies.
    """

    refusal: ImageError | None = None
    warnings: tuple[ImageWarning, ...] = ()
    correction: Correction = NO_CORRECTION


def decide(
    look: Look,
    section: FilmCheck,
    *,
    mode: FilmCheckMode = "refuse",
    correction: FilmCorrection = "none",
    view_position: str | None = None,
    declared_inverted: bool = False,
) -> Decision:
    """The decision about the film of `look`.

    Args:
        mode: "refuse" what is certain, or "warn" of it.
        correction: what is corrected instead.
        view_position: View Position (0018,5101) of a DICOM file.
        declared_inverted: whether the file itself asks to exchange black and white (MONOCHROME1).
    """
    references = {reference.name: reference for reference in section.references}
    nearest = references[look.nearest]
    turned = look.quarters != 0 and look.quarters_probability >= CERTAIN
    inverted = look.inverted_probability >= CERTAIN
    turns, inverts = correction in ("turn", "both"), correction in ("invert", "both")
    known = _knows(nearest, look)
    fix = Correction(
        quarters=look.quarters if turned and turns and known else 0,
        inverted=inverted and inverts and known,
    )
    if mode == "refuse":
        refusal = (
            _far(look, references)
            or (_turned(look) if turned and not fix.quarters else None)
            or (_inverted(declared_inverted) if inverted and not fix.inverted else None)
            or _view_refusal(look, section)
        )
        if refusal:
            return Decision(refusal=refusal)
    warnings = [*_strangeness(look, section), *_lies(look, fix), *_polarity(look, fix)]
    if look.chest_probability >= LIKELY:  # of a picture that may be no chest, these say nothing
        warnings += [
            *_mirrored(look, nearest),
            *_cut(look, nearest),
            *_view(look, section, view_position),
        ]
    return Decision(warnings=tuple(warnings), correction=fix)


def _knows(reference: Reference, look: Look) -> bool:
    """Whether the film is like those of the reference, and shows a chest as they do."""
    return look.likeness[reference.name] > KNOWN


def _far(look: Look, references: dict[str, Reference]) -> ImageError | None:
    """The refusal of what every reference calls strange, if one of them may refuse."""
    if any(look.ranks[name] > REFUSED for name in look.ranks if references[name].refuses):
        return None
    if not any(reference.refuses for reference in references.values()):
        return None
    if any(_knows(reference, look) for reference in references.values()):
        return None
    images = max(reference.films for reference in references.values() if reference.refuses)
    return NotAChestRadiograph(
        f"the picture is stranger than all but one in a thousand of the {images} chest radiographs of the "
        "reference. Send a chest radiograph."
    )


def _turned(look: Look) -> ImageError:
    return TurnedImage(
        f"the radiograph lies {_LIES[look.quarters]} (probability {look.quarters_probability:.3f}). Send it "
        "upright: the head above, the patient's left at the right of the picture."
    )


def _inverted(declared: bool) -> ImageError:
    reason = "MONOCHROME1 in the header is wrong or was applied twice" if declared else "bones must be white"
    return InvertedImage(
        f"black and white are exchanged (inverted): {reason}. Send the radiograph with the true polarity."
    )


def _view_refusal(look: Look, section: FilmCheck) -> ImageError | None:
    if look.view in section.refused_views and look.view_probability >= CERTAIN:
        return ViewNotCovered(
            f"the view is {look.view}; the bundle was trained on "
            f"{', '.join(view for view in section.views if view not in section.refused_views)} radiographs. "
            "Send one of these views."
        )
    return None


def _strangeness(look: Look, section: FilmCheck) -> list[ImageWarning]:
    warnings = []
    if not any(_knows(reference, look) for reference in section.references):
        known = "; ".join(reference.data for reference in section.references)
        warnings.append(
            _warning(
                WarningCode.NOT_A_CHEST,
                f"The picture may not be a chest radiograph: it differs from all chest films that the bundle "
                f"was compared with ({known}). The result may mean nothing.",
            )
        )
    if not any(_knows(reference, look) for reference in section.references if reference.own):
        message = (
            "The picture is unlike the drawings that this bundle was trained on: its results mean nothing."
            if section.measured_on == "phantoms"
            else "The picture is unlike the radiographs that this bundle was trained on: its results may be "
            "wrong."
        )
        warnings.append(_warning(WarningCode.UNLIKE_TRAINING, message))
    return warnings


def _lies(look: Look, fix: Correction) -> list[ImageWarning]:
    if look.quarters == 0 or look.quarters_probability < LIKELY:
        return []
    if fix.quarters:
        action = (
            f"lies {_LIES[look.quarters]} and was turned upright for the analysis; the heatmaps lie on it as "
            "it was sent"
        )
    else:
        action = (
            f"seems to lie {_LIES[look.quarters]} (probability {look.quarters_probability:.2f}) and was "
            "analysed as it lies"
        )
    return [_warning(WarningCode.TURNED, f"The radiograph {action}. Send it upright.")]


def _polarity(look: Look, fix: Correction) -> list[ImageWarning]:
    if look.inverted_probability < LIKELY:
        return []
    if fix.inverted:
        action = "are exchanged (inverted), and were exchanged back for the analysis"
    else:
        action = (
            f"seem to be exchanged (inverted, probability {look.inverted_probability:.2f}); the radiograph "
            "was analysed as it is"
        )
    return [_warning(WarningCode.INVERTED, f"Black and white {action}. Send it with bones white.")]


def _mirrored(look: Look, nearest: Reference) -> list[ImageWarning]:
    if look.mirrored_probability <= max(nearest.mirrored, _MIN_MIRRORED):
        return []
    return [
        _warning(
            WarningCode.MIRRORED,
            "The radiograph seems to be mirrored, or the heart lies on the right: compare with the side "
            "marker. It was analysed as it lies.",
        )
    ]


def _cut(look: Look, nearest: Reference) -> list[ImageWarning]:
    sides = [
        side
        for side, probability, usual in zip(SIDES, look.cut_4, nearest.cut, strict=True)
        if probability > max(usual, _MIN_CUT)
    ]
    if not sides:
        return []
    return [
        _warning(
            WarningCode.CUT_OFF,
            f"A part of the chest seems to be missing {' and '.join(sides)}: findings there cannot be seen.",
        )
    ]


def _view(look: Look, section: FilmCheck, view_position: str | None) -> list[ImageWarning]:
    if look.view is None or look.view_probability < LIKELY:
        return []
    warnings = []
    if look.view in section.refused_views:
        warnings.append(
            _warning(
                WarningCode.VIEW_NOT_COVERED,
                f"The view seems to be {look.view}, which the bundle was not trained on.",
            )
        )
    declared = {"LL": "lateral", "RL": "lateral", "LATERAL": "lateral", "PA": "PA", "AP": "AP"}.get(
        (view_position or "").upper()
    )
    if declared in section.views and declared != look.view and look.view_probability >= CERTAIN:
        warnings.append(
            _warning(
                WarningCode.VIEW_CONTRADICTION,
                f"The picture's view seems to be {look.view}; the header names {declared}.",
            )
        )
    return warnings


def _warning(code: WarningCode, message: str) -> ImageWarning:
    return ImageWarning(code=code, message=message)
