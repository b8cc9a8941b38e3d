"""Look-up tables in a header (Modality LUT, PS3.3 C.11.1; VOI LUT, C.11.2), cleaned.

An image that has one is shown with it; a presentation state over the image replaces all that the image says
of its greyscale, and so must repeat the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from cxrserve.imaging.border import FOREIGN_ERRORS

MOST_BYTES: Final = 2 * 2**16  # of one table: 65,536 entries of 16 bit, as many as a descriptor can say
_MOST_ENTRIES: Final = 2**16
_MOST_TRIED: Final = 8


def sound_lut(items: Iterable[Dataset]) -> tuple[Dataset, Dataset] | None:
    """The first well-formed table of `items`, which is what the image opens with; None where there is none.

    Returns:
        its item, and a data set with its descriptor, and its data as OW: little endian, a word an entry.
    """
    for item, _ in zip(items, range(_MOST_TRIED), strict=False):
        with suppress(*FOREIGN_ERRORS):
            return item, _cleaned(item)
    return None


def _cleaned(item: Dataset) -> Dataset:
    """`item` with its descriptor and entries, which fit each other.

    Raises:
        ValueError: they do not; or whatever else of FOREIGN_ERRORS is wrong with them.
    """
    little = item.original_encoding[1] is not False
    count, first, bits = _descriptor(item["LUTDescriptor"].value, little)
    words = _words(item["LUTData"].value, little)
    entries = count or _MOST_ENTRIES  # C.11.1.1: 0 means 65,536
    if bits == 8 and len(words) == (entries + 1) // 2:  # two in a word
        words = words.astype("<u2").view(np.uint8)[:entries].astype(np.uint16)
    if not 2 <= entries == len(words) or not 8 <= bits <= 16 or not -(2**15) <= first < 2**16:
        raise ValueError("the table is not what its descriptor says")
    clean = Dataset()
    clean.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries % _MOST_ENTRIES, first, bits])
    clean.add_new("LUTData", "OW", words.astype("<u2").tobytes())
    return clean


def _descriptor(value: Any, little: bool) -> tuple[int, int, int]:
    """Number of entries, first value mapped, bits; as bytes where the file does not say their sign."""
    numbers = np.frombuffer(value, "<u2" if little else ">u2") if isinstance(value, bytes) else value
    count, first, bits = (int(each) for each in numbers)
    return count % _MOST_ENTRIES, first, bits  # signed, 32,768 entries and more come as negative numbers


def _words(value: Any, little: bool) -> np.ndarray[Any, np.dtype[Any]]:
    if isinstance(value, bytes):
        if len(value) > MOST_BYTES:
            raise ValueError("too many entries")
        return np.frombuffer(value, "<u2" if little else ">u2")
    if len(value) > _MOST_ENTRIES:
        raise ValueError("too many entries")
    words = np.asarray(value, np.int64)
    return (words % _MOST_ENTRIES).astype(np.uint16)
