"""Limits on what an image may declare, checked before anything of that size is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from cxrserve.errors import NotAChestRadiograph, TooLarge, UnreadableImage


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits on the size of an image.

    Attributes:
        max_pixels: most rows × columns.
        min_side_pixels: fewest rows, and fewest columns.
        max_inflated_bytes: most bytes that a deflated data set may unfold to.
    """

    max_pixels: int = 100_000_000
    min_side_pixels: int = 64
    max_inflated_bytes: int = 2**28

    def check_size(self, rows: int, columns: int) -> None:
        """Pass, or raise what is wrong with an image of `rows` × `columns`.

        Raises:
            UnreadableImage: no pixels.
            TooLarge: more pixels than allowed.
            NotAChestRadiograph: too small to show anything.
        """
        if rows < 1 or columns < 1:
            raise UnreadableImage(f"the header declares {rows} × {columns} pixels, so there is no image.")
        if rows * columns > self.max_pixels:
            raise TooLarge(
                f"the header declares {rows} × {columns} = {rows * columns} pixels; at most "
                f"{self.max_pixels} are taken (CXRSERVE_MAX_PIXELS). Send the radiograph at its native size."
            )
        if min(rows, columns) < self.min_side_pixels:
            raise NotAChestRadiograph(
                f"the image has {rows} × {columns} pixels; below {self.min_side_pixels} a side "
                "(CXRSERVE_MIN_SIDE_PIXELS) nothing can be judged. Send the radiograph, not a thumbnail."
            )
