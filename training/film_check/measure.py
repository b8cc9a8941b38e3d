"""The measured table of a film check: its decisions about test films, upright and changed in known ways.

Every film goes through the look and the decision that serve; nothing is counted that a service would not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.film_check import Measured
from cxrserve.errors import ImageError, InvertedImage, NotAChestRadiograph, TurnedImage, ViewNotCovered
from cxrserve.film_check.decision import Decision, decide
from cxrserve.film_check.look import Looker
from cxrserve.warnings import WarningCode
from training.film_check.task import Picture, turned

# The share that is cut off at one side, to see whether it is found.
CUT: Final = 0.2
# Groups of fewer films say nothing.
MIN_GROUP: Final = 10
REFUSED: Final = "refused"

_SIDES: Final = ("above", "right", "below", "left")
_REFUSALS: Final[dict[type[ImageError], WarningCode]] = {
    TurnedImage: WarningCode.TURNED,
    InvertedImage: WarningCode.INVERTED,
    NotAChestRadiograph: WarningCode.NOT_A_CHEST,
    ViewNotCovered: WarningCode.VIEW_NOT_COVERED,
}
_CODES: Final = (
    WarningCode.NOT_A_CHEST,
    WarningCode.UNLIKE_TRAINING,
    WarningCode.TURNED,
    WarningCode.INVERTED,
    WarningCode.MIRRORED,
    WarningCode.CUT_OFF,
    WarningCode.VIEW_NOT_COVERED,
)


def measure(
    looker: Looker,
    pictures_NSS: Sequence[Picture],
    data: str,
    groups: Mapping[str, NDArray[np.bool_]] | None = None,
) -> tuple[Measured, ...]:
    """The table for upright test films, with the good films' refusals by group.

    Args:
        groups: by name, bool [N]: which films belong to it.
    """

    def row(kind: str, answer: str, flags: Sequence[bool]) -> Measured:
        return Measured(kind=kind, data=data, films=len(flags), answer=answer, count=sum(flags))

    good = [decision(looker, picture_SS) for picture_SS in pictures_NSS]
    refused = [verdict.refusal is not None for verdict in good]
    rows = [row("upright", REFUSED, refused)]
    rows += [row("upright", code.value, [code in codes(verdict) for verdict in good]) for code in _CODES]
    for kind, pictures, code in _changed(pictures_NSS):
        decisions = [decision(looker, picture_SS) for picture_SS in pictures]
        rows.append(row(kind, code.value, [code in codes(verdict) for verdict in decisions]))
        if code in (WarningCode.TURNED, WarningCode.INVERTED):
            rows.append(row(kind, REFUSED, [verdict.refusal is not None for verdict in decisions]))
    for name, member_N in (groups or {}).items():
        members = [refused[number] for number in np.flatnonzero(member_N).tolist()]
        if len(members) >= MIN_GROUP:
            rows.append(row(f"upright, {name}", REFUSED, members))
    return tuple(rows)


def decision(looker: Looker, picture_SS: Picture) -> Decision:
    """The decision of a service with default settings."""
    return decide(looker.look(picture_SS), looker.section)


def codes(verdict: Decision) -> set[WarningCode]:
    """The reason of the refusal, or the codes of the warnings."""
    if verdict.refusal is not None:
        return {_REFUSALS[type(verdict.refusal)]}
    return {warning.code for warning in verdict.warnings}


def cut_off(picture_SS: Picture, side: int, share: float) -> Picture:
    """The picture without `share` of it above (0), at the right (1), below (2) or at the left (3)."""
    size = picture_SS.shape[0]
    lying_SS = np.rot90(picture_SS, side)[round(size * share) :]
    whole_SS = cv2.resize(np.ascontiguousarray(lying_SS), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.rot90(whole_SS, -side)).astype(np.uint8, copy=False)


def _changed(pictures_NSS: Sequence[Picture]) -> Iterator[tuple[str, Iterator[Picture], WarningCode]]:
    """Every change of the table: its name, the changed pictures, the answer that is right."""
    for quarters in (1, 2, 3):
        turn = partial(turned, turn=quarters)
        yield f"turned by {90 * quarters}°", map(turn, pictures_NSS), WarningCode.TURNED
    yield "inverted", (255 - picture_SS for picture_SS in pictures_NSS), WarningCode.INVERTED
    yield "mirrored", map(partial(turned, turn=4), pictures_NSS), WarningCode.MIRRORED
    for side, name in enumerate(_SIDES):
        cut = partial(cut_off, side=side, share=CUT)
        yield f"{CUT:.0%} cut off, {name}", map(cut, pictures_NSS), WarningCode.CUT_OFF
