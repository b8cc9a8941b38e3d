"""JPEG: a file on its own, and the baseline stream inside DICOM.

libjpeg answers a damaged stream with half a picture and a message. OpenCV lets the message through to
standard error, where it is read; Pillow drops it.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.capture_stderr import with_c_messages
from cxrserve.imaging.codestream import StreamHeader, jpeg_end, read_stream_header
from cxrserve.imaging.exif import jpeg_orientation
from cxrserve.imaging.foreign_errors import reading
from cxrserve.imaging.grey import to_grey
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import upright
from cxrserve.imaging.radiograph import ImageAbout, Radiograph

_AS_IT_IS: Final = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
_DECODED_PROCESSES: Final = ("baseline", "extended", "progressive")


# Each scan of a progressive JPEG goes over the whole picture: 58 kB with 3,000 of them cost 10 s. Ten are
# usual.
_MAX_SCANS: Final = 200
_START_OF_SCAN: Final = b"\xff\xda"
_END_OF_IMAGE: Final = b"\xff\xd9"
_EXTRANEOUS: Final = re.compile(rb"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")


def read_jpeg(data: bytes, limits: Limits) -> Radiograph:
    """The radiograph in a JPEG file, turned upright if Exif says so.

    Raises:
        UnreadableImage, UnsupportedImage, NotAChestRadiograph, TooLarge: see `errors`.
    """
    with reading("the JPEG file"):
        header = read_stream_header(data)
        _check_decodable(header)
        limits.check_size(header.rows, header.columns)
        samples = decode_jpeg_samples(data)
        if samples.shape[:2] != (header.rows, header.columns):
            raise UnreadableImage(
                f"the JPEG decodes to {samples.shape[:2]} pixels, its header declares "
                f"{(header.rows, header.columns)}: damaged."
            )
        orientation = jpeg_orientation(data)
        pixels_HW, grey_steps, warnings = to_grey(samples)
    upright_HW = upright(pixels_HW, orientation)
    return Radiograph(
        pixels_HW=upright_HW,
        about=ImageAbout(
            format="jpeg",
            rows=upright_HW.shape[0],
            columns=upright_HW.shape[1],
            photometric_interpretation="MONOCHROME2" if header.components == 1 else "RGB",
            bits_stored=header.precision,
        ),
        steps=grey_steps + ((f"exif-orientation-{orientation}",) if orientation != 1 else ()),
        warnings=warnings,
    )


def decode_jpeg_samples(stream: bytes, *, components_are_rgb: bool = False) -> NDArray[Any]:
    """The samples of an 8-bit JPEG, uint8 [H, W] or [H, W, 3] (RGB).

    `components_are_rgb`: DICOM says that the components are RGB themselves. An Adobe marker says what they
    are, and a JFIF marker that they are YCbCr (JFIF 1.02); with neither, DICOM is believed, and not the
    decoder, which would take them for YCbCr.
    """
    header = read_stream_header(stream)
    _check_decodable(header)
    end, scans = jpeg_end(stream, max_scans=_MAX_SCANS + 1)
    if scans > _MAX_SCANS:
        raise UnsupportedImage(f"the JPEG has more than {_MAX_SCANS} scans. Save it as baseline.")
    if components_are_rgb and not (header.adobe or header.jfif):
        return _components(stream)
    stream = stream[:end]  # what a camera or an archive appends is not part of the picture
    encoded = np.frombuffer(stream, np.uint8)
    samples, messages = with_c_messages(lambda: cv2.imdecode(encoded, _AS_IT_IS))
    if samples is None or speaks_of_damage(messages, stream):
        raise UnreadableImage(
            "the JPEG stream is damaged or truncated. Send the image again from its source."
        )
    return np.asarray(samples if samples.ndim == 2 else samples[..., ::-1])


def speaks_of_damage(messages: bytes, stream: bytes) -> bool:
    """True if libjpeg's messages on `stream` mean that the picture is not whole.

    Some encoders pad before the end marker. libjpeg calls that extraneous bytes, as it does data that it no
    longer understands: harmless are only as many as there are bytes of padding.
    """
    if (match := _EXTRANEOUS.fullmatch(messages.strip())) is None:
        return b"Corrupt" in messages or b"Premature" in messages
    end = stream.find(_END_OF_IMAGE, stream.rfind(_START_OF_SCAN))
    coded = stream[: max(end, 0)]
    return int(match[1]) > len(coded) - len(coded.rstrip(b"\0\xff"))


def _components(stream: bytes) -> NDArray[np.uint8]:
    """The components as they are stored, which OpenCV does not hand out."""
    with Image.open(BytesIO(stream), formats=("JPEG",)) as image:
        image.draft("YCbCr", image.size)
        image.load()
        return np.asarray(image)


def _check_decodable(header: StreamHeader) -> None:
    if header.process not in _DECODED_PROCESSES:
        raise UnsupportedImage(
            f"the JPEG is coded as {header.process}, which is not decoded here. Save it as baseline."
        )
    if header.precision != 8:
        raise UnsupportedImage(
            f"the JPEG has {header.precision} bits; 8 are decoded. Send 12 bits as PNG or DICOM."
        )
    if header.components == 4:
        raise UnsupportedImage(
            "the JPEG is in CMYK, made for print; a radiograph is grey. Convert it to grey."
        )
    if header.components not in (1, 3):
        raise UnsupportedImage(
            f"the JPEG has {header.components} components; 1 or 3 are taken. Convert it to grey."
        )
