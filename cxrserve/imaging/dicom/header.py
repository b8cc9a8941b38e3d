"""The Image Pixel module (PS3.3 C.7.6.3): what the header says, checked before a pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.dicom.dataset import embedded_overlays, integer, text
from cxrserve.imaging.limits import Limits

_SAMPLES: Final = {  # PS3.3 C.7.6.3.1.2
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_MIN_BITS: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelHeader:
    """The header of one frame; every value has been checked against the others."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    low_bit: int
    signed: bool
    photometric_interpretation: str
    planar: bool
    has_embedded_overlay: bool

    @property
    def native_samples(self) -> int:
        """Samples of the frame where it is not compressed. YBR_FULL_422: PS3.3 C.7.6.3.1.2."""
        halved = self.photometric_interpretation == "YBR_FULL_422"  # two pixels share Cb and Cr
        return self.rows * self.columns * (2 if halved else self.samples)

    @property
    def native_bytes(self) -> int:
        """Bytes of the frame where it is not compressed, without padding."""
        return self.native_samples * self.bits_allocated // 8


def read_pixel_header(dataset: Dataset, limits: Limits) -> PixelHeader:
    """The checked pixel header of `dataset`.

    Raises:
        UnreadableImage: elements are missing or contradict each other.
        UnsupportedImage: several frames, or a depth that no radiograph has.
        TooLarge, NotAChestRadiograph: by `limits`.
    """
    check_has_pixels(dataset)
    frames = integer(dataset, "NumberOfFrames")
    if frames not in (None, 0, 1):  # 0 is how some say that there is nothing to count
        raise UnsupportedImage(
            f"the file holds {frames} frames, and one radiograph has one. Send single images."
        )
    rows, columns = _required(dataset, "Rows"), _required(dataset, "Columns")
    limits.check_size(rows, columns)
    photometric, samples = _colour(dataset)
    allocated, stored, low_bit = _bits(dataset)
    representation = integer(dataset, "PixelRepresentation") or 0
    if representation not in (0, 1):
        raise UnreadableImage(
            f"PixelRepresentation is {representation}; 0 or 1 was expected. The header is damaged."
        )
    return PixelHeader(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        low_bit=low_bit,
        signed=representation == 1,
        photometric_interpretation=photometric,
        planar=samples > 1 and integer(dataset, "PlanarConfiguration") == 1,
        has_embedded_overlay=embedded_overlays(dataset),
    )


def check_has_pixels(dataset: Dataset) -> None:
    """Pass, or raise what is there instead of Pixel Data."""
    if "PixelData" in dataset:
        return
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise UnsupportedImage(
            "the pixels are floating-point numbers; a radiograph has whole ones (Pixel Data)."
        )
    raise UnreadableImage(
        "there is no Pixel Data in the file: it holds no image, or it was cut off. Send it whole."
    )


def _required(dataset: Dataset, keyword: str) -> int:
    value = integer(dataset, keyword)
    if value is None:
        raise UnreadableImage(f"{keyword} is missing from the header. Send a file with a complete header.")
    return value


def _colour(dataset: Dataset) -> tuple[str, int]:
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if not photometric:
        raise UnreadableImage(
            "PhotometricInterpretation is missing: whether low values are black or white is not known, and "
            "an inverted image would be analysed wrongly. Send a file that says so."
        )
    if photometric not in _SAMPLES:
        raise UnsupportedImage(
            f"PhotometricInterpretation is none of those taken: {', '.join(_SAMPLES)}. Convert the image to "
            "MONOCHROME2."
        )
    samples = integer(dataset, "SamplesPerPixel")
    if samples is None:  # grey has but one
        samples = 1 if photometric in _GREY else _required(dataset, "SamplesPerPixel")
    if samples != _SAMPLES[photometric]:
        raise UnreadableImage(
            f"SamplesPerPixel is {samples}, but {photometric} has {_SAMPLES[photometric]}: a damaged header."
        )
    return photometric, samples


def _bits(dataset: Dataset) -> tuple[int, int, int]:
    """Bits allocated, bits stored, and the lowest bit stored: above 0 where values are left-justified."""
    allocated, high = _required(dataset, "BitsAllocated"), integer(dataset, "HighBit")
    stored = integer(dataset, "BitsStored")
    if stored is None:
        stored = allocated if high is None else high + 1
    if allocated not in (8, 16):
        raise UnsupportedImage(
            f"BitsAllocated is {allocated}; 8 or 16 are taken. Convert the image to 16 bit."
        )
    if stored > allocated or stored < 1:
        raise UnreadableImage(
            f"BitsStored is {stored}, BitsAllocated {allocated}: the header contradicts itself."
        )
    if stored < _MIN_BITS:
        raise UnsupportedImage(f"BitsStored is {stored}; a radiograph has {_MIN_BITS} to 16.")
    # PS3.5 8.1.1 asks for the low bits; before 2014, and in ACR-NEMA, values could stand in the high ones.
    if high not in (None, stored - 1, allocated - 1):
        raise UnreadableImage(
            f"HighBit is {high}, but BitsStored {stored} asks for {stored - 1}. The header is damaged."
        )
    return allocated, stored, 0 if high is None else high + 1 - stored
