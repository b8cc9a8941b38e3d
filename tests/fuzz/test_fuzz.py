"""Generated objects cost little CPU and memory, and raise no foreign error.

Here it takes some seconds; `make fuzz` runs for an hour. The bounds are those of an object of up to 1 MiB.
"""

from __future__ import annotations

import struct
from typing import Final

import pytest

from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.reports.dicom import read_source
from tests.fuzz.costs import cost_of, cpu_of
from tests.fuzz.decoders import fuzz_decoders
from tests.fuzz.loop import MAX_BYTES, MAX_CPU_S, fuzz
from tests.fuzz.structures import Maker
from tests.fuzz.targets import TARGETS
from tests.imaging import makers

OBJECTS: Final = 40  # for each target: the same at every run, since their seeds begin at 0


@pytest.mark.parametrize("name", TARGETS)
def test_generated_objects_cost_little(name: str) -> None:
    findings = fuzz(TARGETS[name], seconds=0, seed=0, objects=OBJECTS)
    assert findings.failures == []
    assert findings.objects == OBJECTS


def test_damaged_images_end_in_an_answer_or_in_an_error_of_the_project() -> None:
    findings = fuzz_decoders(seconds=0, seed=0, inputs=OBJECTS)
    assert findings.failures == []
    assert sum(findings.outcomes.values()) == findings.inputs == OBJECTS


def test_the_oracle_sees_what_it_looks_for() -> None:
    """A parser that builds something for each item is caught by its cost."""
    data = bytes(2**20)
    assert cost_of(lambda data: [bytes(99) for _ in data] and None, data[: 2**19]).peak_bytes > MAX_BYTES
    assert cpu_of(lambda data: sum(byte * byte for byte in data * 30) and None, data) > MAX_CPU_S


def test_the_loop_reports_what_costs_too_much_and_what_raises() -> None:
    def hungry(data: bytes) -> None:
        assert bytes(100 * 2**20)

    assert any("MiB beyond its size" in failure for failure in fuzz(hungry, seconds=0, seed=0).failures)

    def broken(data: bytes) -> None:
        raise ValueError

    assert "ValueError" in fuzz(broken, seconds=0, seed=0).failures[0]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("tag", [0x00283000, 0x00283010, 0x00081032, 0x00400555])
def test_a_sequence_that_is_kept_may_have_few_items_only(tag: int, undefined: bool) -> None:
    """pydicom builds each item of a sequence that a result needs: 300 kB cost 1.5 s, found by the fuzz."""
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 37_000
    length = struct.pack("<I", 0xFFFFFFFF if undefined else len(items))
    sequence = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"SQ\0\0" + length + items
    sound = makers.dataset(makers.radiograph())
    data = makers.file_of(
        makers.bare(sound, implicit=False).replace(b"\x10\0\x10\0PN", sequence + b"\x10\0\x10\0PN")
    )
    assert read_source(source_header(data)).header.PatientName  # what comes behind it is not lost
    cost = cost_of(TARGETS["source_header"], data)
    assert cost.cpu_s < MAX_CPU_S
    assert cost.peak_bytes < MAX_BYTES


def test_a_sequence_has_no_text() -> None:
    """pydicom's text of a deep and damaged sequence of 13 kB cost 2 s, found by the fuzz."""
    data = Maker(1795911737242702110, max_bytes=2**20).part10()
    assert cost_of(TARGETS["element_texts"], data).cpu_s < MAX_CPU_S
