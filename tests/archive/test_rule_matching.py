"""Rules look at elements as they stand in the file, at any of them, and faults in a rules file are named."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest
from pydicom.config import disable_value_validation

from cxrserve.archive.matching import Match, Traits
from cxrserve.archive.rules import RulesError
from cxrserve.archive.rules_file import parse_rules
from cxrserve.imaging.dicom.source_header import element_texts
from tests import radiographs

TRAITS = {"body_part": "BodyPartExamined", "modality": "Modality"}


def traits_of(tags: tuple[str, ...] = (), **elements: Any) -> Traits:
    with disable_value_validation():
        data = radiographs.dicom(64, 64, **elements)
    texts = element_texts(data, {*TRAITS.values(), *tags})
    return Traits(
        **{trait: next(iter(texts[keyword]), "") for trait, keyword in TRAITS.items()},
        tags={keyword: texts[keyword] for keyword in tags},
    )


@pytest.mark.parametrize("body_part", ["KNEE/PATELLA", "L-SPINE", "Bäcken", "knee (left)"])
def test_an_odd_body_part_is_not_an_empty_one(body_part: str) -> None:
    match = Match(body_part=("CHEST", "THORAX", ""))
    assert not match.fits(traits_of(BodyPartExamined=body_part, SpecificCharacterSet="ISO_IR 100"))
    assert match.fits(traits_of(BodyPartExamined=""))
    assert match.fits(traits_of(BodyPartExamined=" Chest "))


def test_an_odd_body_part_can_be_matched() -> None:
    assert Match(body_part=("*CHEST*",)).fits(traits_of(BodyPartExamined="CHEST (PA)"))


def test_any_element_can_be_matched() -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "36643-5", "LN", "XR Chest 2 Views"
    elements: dict[str, Any] = {
        "StudyDescription": "Röntgen Thorax p.a.",
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "ProcedureCodeSequence": [code],
    }
    tags = ("StudyDescription", "ImageType", "ProcedureCodeSequence.CodeValue", "ProtocolName")
    traits = traits_of(tags, **elements)
    for keyword, pattern in {
        "StudyDescription": "*thorax*",
        "ImageType": "PRIMARY",  # any of its values
        "ProcedureCodeSequence.CodeValue": "36643-?",
        "ProtocolName": "",  # the file has none
    }.items():
        assert Match(tags={keyword: (pattern,)}).fits(traits), keyword
        assert not Match(tags={keyword: ("KNEE",)}).fits(traits), keyword
    assert not Match(modality=("CR",), tags={"ProtocolName": ("",)}).fits(traits), "both must fit"


RULES = """
rules:
  - name: chests
    match:
      {match}
"""


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        ("modality: [CR DX]", r"rules.yaml:5: .*commas stand between several"),
        ("tags: {StudyDescripton: x}", r"rules.yaml:5: .*no DICOM element.*is it StudyDescription\?"),
        ("body_parts: CHEST", r"rules.yaml:5: .*there is no such key; is it body_part\?"),
        ("modality: CR\n      modality: DX", r"rules.yaml:6: the key modality stands twice"),
    ],
)
def test_a_fault_is_named_with_its_line(match: str, problem: str) -> None:
    with pytest.raises(RulesError, match=problem):
        parse_rules(RULES.format(match=match), "rules.yaml")


def test_the_rules_know_the_elements_that_they_look_at() -> None:
    rules = parse_rules(RULES.format(match="tags: {StudyDescription: '*chest*'}"), "rules.yaml")
    assert rules.keywords == {"StudyDescription"}
    assert rules.rules[0].match.tags == {"StudyDescription": ("*chest*",)}
