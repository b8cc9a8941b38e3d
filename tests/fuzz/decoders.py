"""The decoders, through the real pool of workers: damaged images end in an answer or in an error of ours."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from pydicom.uid import JPEG2000Lossless, JPEGLossless, JPEGLSLossless, RLELossless

from cxrserve.errors import CxrserveError
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from tests import radiographs
from tests.imaging import makers

_PATIENCE_S: Final = 20.0
_SYNTAXES: Final = (JPEG2000Lossless, JPEGLSLossless, JPEGLossless, RLELossless)


@dataclass(kw_only=True, slots=True)
class DecoderFindings:
    """The result of a run.

    Attributes:
        outcomes: "answered", or the class of the project's error, with its number.
        workers_replaced: workers that died or were too slow.
        failures: foreign errors, with the number of the input.
    """

    inputs: int
    outcomes: dict[str, int]
    workers_replaced: int
    worst_s: float
    failures: list[str]


def seeds() -> list[bytes]:
    """Small sound images of every decoder."""
    pixels = makers.radiograph()
    return [
        radiographs.dicom(120, 100),
        radiographs.png(120, 100),
        radiographs.jpeg(120, 100),
        *(makers.dicom(pixels, syntax=syntax) for syntax in _SYNTAXES),
    ]


def damaged(chance: random.Random, sources: list[bytes]) -> bytes:
    """One of `sources` with a few bytes changed, cut, repeated, or spliced from another."""
    data = bytearray(chance.choice(sources))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data)) if data else 0
        operator = chance.randrange(5)
        if operator == 0:
            data[at : at + 1] = bytes([chance.choice((0, 0xFF, 0x7F, chance.randrange(256)))])
        elif operator == 1:
            del data[at : at + chance.randrange(1, 500)]
        elif operator == 2:
            data[at : at + 4] = b"\xff\xff\xff\xff"
        elif operator == 3:
            data[at:at] = data[at : at + chance.randrange(64)]
        else:
            other = chance.choice(sources)
            data[at : at + 64] = other[chance.randrange(len(other)) :][:64]
    return bytes(data)


def fuzz_decoders(*, seconds: float, seed: int, inputs: int = 20) -> DecoderFindings:
    """Send damaged images through one worker for `seconds`, and at least `inputs` of them."""
    chance, sources = random.Random(seed), seeds()
    replaced: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    findings = DecoderFindings(inputs=0, outcomes={}, workers_replaced=0, worst_s=0.0, failures=[])
    with DecodePool(
        Preprocessing(profile="linear", sizes=(64, 128)),
        Limits(),
        workers=1,
        timeout_s=_PATIENCE_S,
        memory_bytes=2**31,
        on_replaced=lambda: replaced.update(("all",)),
    ) as pool:
        pool.wait_ready()
        until = time.monotonic() + seconds
        while time.monotonic() < until or findings.inputs < inputs:
            data = damaged(chance, sources)
            findings.inputs += 1
            started = time.monotonic()
            try:
                pool.prepare(data)
                outcomes["answered"] += 1
            except CxrserveError as error:
                outcomes[type(error).__name__] += 1
            except Exception as error:
                findings.failures.append(f"seed {seed}, input {findings.inputs}: {type(error).__name__}")
            findings.worst_s = max(findings.worst_s, time.monotonic() - started)
    findings.outcomes = dict(outcomes)
    findings.workers_replaced = replaced["all"]
    return findings
