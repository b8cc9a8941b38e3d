"""Content items of a structured report (PS3.3 C.17.3), each encoded as the item of a Content Sequence.

Names stand for codes of PS3.16; the templates that ask for them are named in report.py.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DSfloat

from cxrserve.reports.dicom.codes import SOURCE, UNITY
from cxrserve.reports.dicom.elements import element, floats_element, sequence, text_element
from cxrserve.reports.dicom.identity import plain
from cxrserve.reports.dicom.objects import Reference

Relationship = Literal["CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT", "SELECTED FROM"]

_REFERENCED_SOP_SEQUENCE: Final = 0x0008_1199
_CONCEPT_NAME: Final = 0x0040_A043
_CONCEPT_CODE: Final = 0x0040_A168
_UNITS: Final = 0x0040_08EA
CONTENT_SEQUENCE: Final = 0x0040_A730
_MAX_CODE: Final = 16  # of Code Value (PS3.3 8.1)


def container(name: Code, template: str, items: Sequence[bytes]) -> bytes:
    """A container of `items`, by a template of PS3.16; "" where none is named."""
    return (
        _head("CONTAINS", "CONTAINER", name)
        + text_element(0x0040_A050, "CS", "CONTINUOUS")
        + (_template(template) if template else b"")
        + sequence(CONTENT_SEQUENCE, items)
    )


def code_item(name: Code, value: Code, relationship: Relationship = "CONTAINS") -> bytes:
    """A coded answer to the question `name`."""
    return _head(relationship, "CODE", name) + _coded(_CONCEPT_CODE, value)


def text_item(name: Code, text: str, relationship: Relationship = "CONTAINS") -> bytes:
    """Free text, in ASCII."""
    return _head(relationship, "TEXT", name) + text_element(0x0040_A160, "UT", plain(text))


def uid_item(name: Code, uid: str, relationship: Relationship = "HAS OBS CONTEXT") -> bytes:
    """A UID."""
    return _head(relationship, "UIDREF", name) + text_element(0x0040_A124, "UI", uid)


def number_item(name: Code, value: float, derivation: Code | None = None) -> bytes:
    """A number without unit, and how it was derived from several."""
    measured = (
        _coded(_UNITS, UNITY)
        + element(0x0040_A161, "FD", struct.pack("<d", value))
        + text_element(0x0040_A30A, "DS", str(DSfloat(value, auto_format=True)))
    )
    encoded = _head("CONTAINS", "NUM", name) + sequence(0x0040_A300, [measured])
    if derivation is None:
        return encoded
    modifier = code_item(codes.DCM.Derivation, derivation, "HAS CONCEPT MOD")
    return encoded + sequence(CONTENT_SEQUENCE, [modifier])


def image_item(name: Code, image: Reference, relationship: Relationship = "CONTAINS") -> bytes:
    """A reference to an image."""
    reference = text_element(0x0008_1150, "UI", image.sop_class_uid) + text_element(
        0x0008_1155, "UI", image.sop_instance_uid
    )
    return sequence(_REFERENCED_SOP_SEQUENCE, [reference]) + _head(relationship, "IMAGE", name)


def outline_item(name: Code, points: Sequence[tuple[float, float]], image: Reference) -> bytes:
    """A polyline over `image`; each point is column and row."""
    return (
        _head("CONTAINS", "SCOORD", name)
        + sequence(CONTENT_SEQUENCE, [image_item(SOURCE, image, "SELECTED FROM")])
        + floats_element(0x0070_0022, [coordinate for point in points for coordinate in point])
        + text_element(0x0070_0023, "CS", "POLYLINE")
    )


def _head(relationship: Relationship, value_type: str, name: Code) -> bytes:
    return _encoded_head(relationship, value_type, name.value, name.scheme_designator, name.meaning)


# Two codes of pydicom are equal though their meanings differ: they are no keys.
@lru_cache(maxsize=1024)
def _encoded_head(relationship: Relationship, value_type: str, *name: str) -> bytes:
    return (
        text_element(0x0040_A010, "CS", relationship)
        + text_element(0x0040_A040, "CS", value_type)
        + _encoded_code(_CONCEPT_NAME, *name)
    )


def _coded(tag: int, code: Code) -> bytes:
    return _encoded_code(tag, code.value, code.scheme_designator, code.meaning)


@lru_cache(maxsize=1024)
def _encoded_code(tag: int, value: str, scheme: str, meaning: str) -> bytes:
    """A sequence of one code (PS3.3 8.8).

    Raises:
        ValueError: the code is too long for the attribute Code Value.
    """
    if len(value) > _MAX_CODE:
        raise ValueError(f"the code {value} of {scheme} has more than {_MAX_CODE} characters")
    code = (
        text_element(0x0008_0100, "SH", value)
        + text_element(0x0008_0102, "SH", scheme)
        + text_element(0x0008_0104, "LO", meaning)
    )
    return sequence(tag, [code])


@lru_cache(maxsize=16)
def _template(identifier: str) -> bytes:
    """The template of PS3.16 that a container follows."""
    template = text_element(0x0008_0105, "CS", "DCMR") + text_element(0x0040_DB00, "CS", identifier)
    return sequence(0x0040_A504, [template])
