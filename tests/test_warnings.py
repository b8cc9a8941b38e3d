"""Warning codes: every one is explained and used, and keeps its meaning on the way to the answer."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

import cxrserve
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from cxrserve.warnings import EXPLANATIONS, WarningCode
from tests.imaging import makers

PREPROCESSING: Final = Preprocessing(profile="mimic-cxr-jpg", sizes=(64, 128))


@pytest.mark.parametrize("code", WarningCode)
def test_every_code_is_explained(code: WarningCode) -> None:
    meaning, remedy = EXPLANATIONS[code]
    assert re.fullmatch("[a-z]+(-[a-z]+)*", code)
    assert meaning.endswith(".")
    assert remedy.endswith(".")


def test_every_code_is_used() -> None:
    used = set()
    for path in Path(cxrserve.__file__).parent.rglob("*.py"):
        if path.name != "warnings.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            used |= {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "WarningCode"
            }
    assert {code.name for code in WarningCode} == used


def test_codes_and_messages_come_back_from_a_worker() -> None:
    data = makers.dicom(
        makers.radiograph(100, 90), PatientOrientation=["R", "F"], PresentationLUTShape="INVERSE"
    )
    here = prepare(data, PREPROCESSING, Limits()).warnings
    with DecodePool(PREPROCESSING, Limits(), workers=1, timeout_s=30, memory_bytes=2**30) as pool:
        there = pool.prepare(data).warnings
        shown = pool.display(data).header.warnings
    assert here == there
    assert [warning.code for warning in there] == [
        WarningCode.POLARITY_UNCLEAR,
        WarningCode.ORIENTATION_CORRECTED,
        WarningCode.ENLARGED,
    ]
    assert shown == there[:2]
