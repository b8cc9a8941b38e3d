"""The bits of a sample: which of them are the value, and whether it has a sign.

Headers are wrong about this often enough, and then a radiograph is silently torn into bands. So where values
contradict the header, or could, both readings are compared: the true one has far fewer jumps between
neighbouring pixels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.header import PixelHeader
from cxrserve.warnings import ImageWarning, WarningCode

Samples = NDArray[Any]
Result = tuple[Samples, tuple[str, ...], tuple[ImageWarning, ...]]

_SAMPLED_ROWS: Final = 64
_MIN_JUMPS: Final = 1 / 1000  # of the pixels: fewer are markers
_TIMES_MORE: Final = 8
_MIN_VALUES: Final = 16  # a continuous range of greys, not a marker at full scale


def stored_values(raw: Samples, header: PixelHeader) -> Result:
    """Samples as numbers: unused bits removed, sign applied, none beyond BitsStored.

    Raises:
        UnreadableImage: values above BitsStored that are no unused bits.
    """
    raw_highest = int(raw.max())
    values, steps, warnings = _placed(raw, header, raw_highest)
    lowest, highest = _range(header.bits_stored, header.signed)
    found_lowest = int(values.min())
    found_highest = raw_highest if values is raw else int(values.max())
    if found_lowest < lowest or found_highest > highest:
        # PS3.5 8.1.1: nothing may be assumed of unused bits. A wrong BitsStored looks alike, but there the
        # values go round and round once the bits above are cut off.
        masked, steps = _masked(values, header), (*steps, "mask-unused-bits")
        half = 1 << header.bits_stored - 1
        if values.dtype.itemsize * 8 == header.bits_stored or _jumps(masked, half) > _jumps(values, half):
            raise UnreadableImage(
                f"stored values reach from {found_lowest} to {found_highest}, but BitsStored "
                f"{header.bits_stored} allows {lowest} to {highest}: the header is wrong. Send a file with a "
                "sound one."
            )
        values, found_lowest, found_highest = masked, int(masked.min()), int(masked.max())
    values, sign_steps, sign_warnings = _with_true_sign(values, header, found_lowest, found_highest)
    return values, steps + sign_steps, warnings + sign_warnings


def _range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _placed(raw: Samples, header: PixelHeader, highest: int) -> Result:
    """Values in the low bits, with their sign; bits above them may still hold something else."""
    bits, unused = header.bits_stored, header.bits_allocated - header.bits_stored
    if raw.dtype.kind != "u" or not unused:  # a decoder has applied the sign, or every bit is the value's
        return (raw.view(f"i{raw.dtype.itemsize}") if header.signed else raw), (), ()
    if header.has_embedded_overlay and not header.low_bit:
        return _signed(raw & ((1 << bits) - 1), header), ("mask-embedded-overlay",), ()
    is_beyond = highest >= 1 << bits
    if is_beyond and (header.low_bit or _are_multiples(raw, 1 << unused)):
        return _signed(raw >> unused, header), (f"shift-right-{unused}",), (_left_justified(unused),)
    if header.low_bit:
        raise UnreadableImage(
            f"HighBit is {header.low_bit + bits - 1}, but BitsStored {bits} and the values ask for "
            f"{bits - 1}: the header is damaged."
        )
    if is_beyond and header.signed:  # the bits above may repeat the sign
        return raw.view(f"i{raw.dtype.itemsize}"), (), ()
    return _signed(raw, header), (), ()


def _are_multiples(raw: Samples, factor: int) -> bool:
    """Whether every value is a multiple of `factor`; a few rows are asked first."""
    return not any(np.bitwise_and(rows, factor - 1).any() for rows in (raw[::64], raw))


def _masked(values: Samples, header: PixelHeader) -> Samples:
    raw = values.view(f"u{values.dtype.itemsize}")
    return _signed(raw & ((1 << header.bits_stored) - 1), header)


def _signed(raw: Samples, header: PixelHeader) -> Samples:
    """Two's complement of the low `bits_stored` bits, the bits above being zero."""
    if not header.signed:
        return raw
    shift = raw.dtype.itemsize * 8 - header.bits_stored
    return (raw << shift).view(f"i{raw.dtype.itemsize}") >> shift


def _with_true_sign(values: Samples, header: PixelHeader, lowest: int, highest: int) -> Result:
    """`values`, read with the other sign where the declared one tears the picture apart."""
    bits = header.bits_stored
    half, full = 1 << bits - 1, 1 << bits
    if values.ndim != 2 or highest - lowest < half:  # no jump is possible
        return values, (), ()
    sample = values[:: max(1, len(values) // _SAMPLED_ROWS)].astype(np.int32)
    declared_jumps = _jumps(sample, half)
    if declared_jumps < _MIN_JUMPS * sample.size:
        return values, (), ()
    other = np.where(sample < 0, sample + full, sample)
    if not header.signed:
        other = np.where(sample >= half, sample - full, sample)
        top = sample[sample >= full - full // 64]
        if len(np.unique(top)) < min(_MIN_VALUES, full // 64):
            return values, (), ()
    if declared_jumps < _TIMES_MORE * _jumps(other, half):
        return values, (), ()
    kind = "unsigned" if header.signed else "signed"
    warning = ImageWarning(
        code=WarningCode.PIXEL_REPRESENTATION,
        message=f"PixelRepresentation is {int(header.signed)}, but so read, the values wrap; they were read "
        f"as {kind}. Send a file with a sound header.",
    )
    if header.signed:
        unsigned = values.view(f"u{values.dtype.itemsize}")
        return unsigned & (full - 1), (f"read-as-{kind}",), (warning,)
    shift = values.dtype.itemsize * 8 - bits
    return (values << shift).view(f"i{values.dtype.itemsize}") >> shift, (f"read-as-{kind}",), (warning,)


def _jumps(values: Samples, half: int) -> int:
    """Number of neighbours in a row that differ by more than `half`."""
    if values.ndim != 2:
        values = values[..., 0]
    sample = values[:: max(1, len(values) // _SAMPLED_ROWS)].astype(np.int32)
    return int((np.abs(np.diff(sample, axis=1)) > half).sum())


def _left_justified(bits: int) -> ImageWarning:
    return ImageWarning(
        code=WarningCode.LEFT_JUSTIFIED,
        message=f"The values stand in the high bits of their words; they were moved down by {bits} bits.",
    )
