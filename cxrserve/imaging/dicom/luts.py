"""Look-up tables in a header (Modality LUT, PS3.3 C.11.1; VOI LUT, C.11.2), cleaned.

An image that has one is shown with it; a presentation state over the image replaces all that the image says
of its greyscale, and so must repeat the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS

MAX_BYTES: Final = 2 * 2**16  # of one table: 65,536 entries of 16 bit, as many as a descriptor can say
_MAX_ENTRIES: Final = 2**16
_MAX_TRIED: Final = 8


def sound_lut(items: Iterable[Dataset]) -> tuple[Dataset, Dataset] | None:
    """The first well-formed table of `items`, which is what the image opens with; None where there is none.

    Returns:
        its item, and a data set with its descriptor, and its data as OW: little endian, a word an entry.
    """
    for item, _ in zip(items, range(_MAX_TRIED), strict=False):
        with suppress(*FOREIGN_ERRORS):
            return item, _cleaned(item)
    return None


def lut_entries(item: Dataset) -> tuple[int, int, NDArray[np.uint16]]:
    """First value mapped, bits of an entry, and the entries of a table; they fit each other.

    Raises:
        ValueError: they do not; or whatever else of FOREIGN_ERRORS is wrong with them.
    """
    little = item.original_encoding[1] is not False
    count, first, bits = _descriptor(item["LUTDescriptor"].value, little)
    entries_16 = _words(item["LUTData"].value, little)
    entries = count or _MAX_ENTRIES  # C.11.1.1: 0 means 65,536
    if bits == 8 and len(entries_16) == (entries + 1) // 2:  # two in a word
        entries_16 = entries_16.astype("<u2").view(np.uint8)[:entries].astype(np.uint16)
    if not 2 <= entries == len(entries_16) or not 8 <= bits <= 16 or not -(2**15) <= first < 2**16:
        raise ValueError("the table is not what its descriptor says")
    return first, bits, entries_16.astype(np.uint16)


def _cleaned(item: Dataset) -> Dataset:
    first, bits, values = lut_entries(item)
    clean = Dataset()
    clean.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values) % _MAX_ENTRIES, first, bits])
    clean.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return clean


def _descriptor(value: Any, little: bool) -> tuple[int, int, int]:
    """Number of entries, first value mapped, bits; as bytes where the file does not say their sign."""
    numbers = np.frombuffer(value, "<u2" if little else ">u2") if isinstance(value, bytes) else value
    count, first, bits = (int(number) for number in numbers)
    return count % _MAX_ENTRIES, first, bits  # signed, 32,768 entries and more come as negative numbers


def _words(value: Any, little: bool) -> np.ndarray[Any, np.dtype[Any]]:
    if isinstance(value, bytes):
        if len(value) > MAX_BYTES:
            raise ValueError("too many entries")
        return np.frombuffer(value, "<u2" if little else ">u2")
    if len(value) > _MAX_ENTRIES:
        raise ValueError("too many entries")
    values = np.asarray(value, np.int64)
    return (values % _MAX_ENTRIES).astype(np.uint16)
