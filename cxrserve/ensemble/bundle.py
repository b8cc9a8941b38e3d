"""The bundle: a model carries its own contract.

A folder with `bundle.json` and one ONNX file for each member. Loading verifies everything the contract
says and refuses on any mismatch, showing both sides. Member files are read once: the bytes whose hash was
checked are the bytes the engine gets, so a file swapped in between cannot slip in. Weights travel as ONNX,
never as a pickle; ONNX files that point at data outside themselves cannot load, since the engine is given
bytes and no path.

Each member takes `image` uint8 [N, 1, S, S] and returns `logits` float32 [N, 14] and `maps` float32
[N, 14, S/32, S/32], where the mean of a map plus a constant is its logit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cxrserve.ensemble.early import EarlyDecisions
from cxrserve.ensemble.part import Part
from cxrserve.errors import BundleError
from cxrserve.findings import INDEX, NAMES
from cxrserve.imaging.pyramid import Preprocessing

CONTRACT_FILE: Final = "bundle.json"
STRIDE: Final = 32
_HEX_SHA256: Final = r"^[0-9a-f]{64}$"
# A plain name: no folder, no "..", no drive. The contract cannot point outside its own folder.
_PLAIN_ONNX_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$"
_MAX_CONTRACT_BYTES: Final = 4 * 2**20
_MAX_MEMBER_BYTES: Final = 2 * 2**30


class Lineage(Part):
    """Where a bundle comes from: what must be the same for the same bundle to come out again."""

    recipe: str
    data: str = Field(description="What it was trained on, in words.")
    data_sha256: str | None = Field(None, pattern=_HEX_SHA256, description="Hash of the data manifest.")
    split_sha256: str | None = Field(None, pattern=_HEX_SHA256, description="Hash of the split.")
    code_version: str
    created: str = Field(description="Date, ISO 8601.")
    recipe_sha256: str | None = Field(None, pattern=_HEX_SHA256, description="Hash of all of the recipe.")
    part: str | None = Field(None, description="Which fold and seed this is, where the run had several.")
    steps: dict[str, str] = Field(
        default_factory=dict, description="Hash of inputs and outputs of each step that made the bundle."
    )
    id: str | None = Field(
        None, pattern=_HEX_SHA256, description="One hash of recipe, data, split, code and steps."
    )


class Gate(Part):
    """How far a variant answers from the member it stands for, measured before it may serve."""

    logits: float = Field(ge=0, description="Largest difference of a logit.")
    maps: float = Field(
        ge=0, description="Largest difference in a map, in units of the maps' standard deviation."
    )
    probability: float = Field(ge=0, le=1, description="Largest change of a scale's probability.")
    auc: float | None = Field(None, description="Largest fall of a finding's AUC; null where not measured.")
    mean_auc: float | None = Field(None, description="Fall of the mean AUC over findings, likewise.")
    speed: float | None = Field(None, gt=0, description="Times as fast as the member where it was measured.")
    tolerance: float = Field(gt=0, description="The largest change of a probability that was allowed.")
    data: str = Field(description="The images it was measured on, in words.")
    images: int = Field(ge=1)
    engine: str = Field(description="What ran both.")


VariantPrecision = Literal["fp16", "int8", "mixed"]


class Variant(Part):
    """The same member in another precision: `image` uint8 in, `logits` and `maps` float32 out, as ever."""

    precision: VariantPrecision
    file: str = Field(pattern=_PLAIN_ONNX_NAME)
    sha256: str = Field(pattern=_HEX_SHA256)
    gate: Gate


class Member(Part):
    """One network: it sees the radiograph at one size."""

    size: int = Field(ge=STRIDE, multiple_of=STRIDE, description="Side of its input in pixels.")
    file: str = Field(pattern=_PLAIN_ONNX_NAME)
    sha256: str = Field(pattern=_HEX_SHA256)
    architecture: str
    parameters: int = Field(ge=1)
    normalisation: str = Field(description="What the graph does to uint8 grey before its first layer.")
    findings: tuple[str, ...] | None = Field(
        None, description="The findings it knows, where not all 14: what it says of others is never used."
    )
    bf16: Gate | None = Field(
        None,
        description="How far an engine that computes this file in bfloat16 answers from single precision; "
        "null where that was not measured or not admitted: then it is computed in single precision.",
    )
    variants: tuple[Variant, ...] = ()
    refused: dict[str, str] = Field(
        default_factory=dict, description="Precisions that were tried and not taken, and why."
    )

    def knows(self, name: str) -> bool:
        """Whether it was trained to judge the finding `name`."""
        return self.findings is None or name in self.findings

    @property
    def known(self) -> list[int]:
        """The findings it was trained to judge, as their places in the order of all."""
        return [index for index, name in enumerate(NAMES) if self.knows(name)]


class OperatingPoint(Part):
    """The threshold at and above which a finding counts as positive, and what it was chosen for."""

    threshold: float = Field(ge=0, le=1)
    sensitivity: float | None = Field(None, ge=0, le=1)
    specificity: float | None = Field(None, ge=0, le=1)
    chosen_for: str = Field(description="The rule by which it was chosen.")
    data: str = Field(description="The data on which it was chosen.")


class Metrics(Part):
    """Measured through the path that serves. `auc[finding]` holds one value a scale, "voting" and "stack"."""

    data: str
    images: int = Field(ge=1)
    auc: dict[str, dict[str, float | None]]


class Contract(Part):
    """`bundle.json`: everything a user of the model must know, and everything serving needs."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str
    lineage: Lineage
    findings: tuple[str, ...]
    preprocessing: Preprocessing
    members: tuple[Member, ...] = Field(min_length=1)
    stack: tuple[tuple[float, ...], ...] = Field(
        description="14 rows of one weight for each member, ≥ 0, sum 1; a row of zeros where none knows it."
    )
    calibration: Literal["identity"] = "identity"
    operating_points: dict[str, OperatingPoint]
    unavailable: tuple[str, ...] = Field(
        (), description="Findings that no member knows: they get no probability, no decision, no heatmap."
    )
    study_rule: Literal["maximum", "mean"] = "maximum"
    heatmap_scale: float = Field(
        gt=0, description="Value of a heatmap shown at full strength: one for all findings and images."
    )
    tolerance: dict[str, float] = Field(
        default_factory=dict, description="Largest difference found between engines, by what was compared."
    )
    metrics: Metrics | None = None
    triage: EarlyDecisions | None = None
    intended_use: str
    limits: tuple[str, ...]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        _same("findings", self.findings, NAMES)
        sizes = tuple(member.size for member in self.members)
        _same("sizes of the members (ascending)", sizes, tuple(sorted(set(sizes))))
        _same("preprocessing.sizes", self.preprocessing.sizes, sizes)
        for member in self.members:
            known = tuple(name for name in NAMES if member.knows(name))
            _same(f"findings of the member of {member.size}", member.findings or NAMES, known)
            precisions = [variant.precision for variant in member.variants]
            _same(f"variants of the member of {member.size}", precisions, sorted(set(precisions)))
        unknown = tuple(name for name in NAMES if not any(member.knows(name) for member in self.members))
        _same("unavailable findings", self.unavailable, unknown)
        pointed = tuple(name for name in NAMES if name not in unknown)
        _same("findings with an operating point", tuple(sorted(self.operating_points, key=_order)), pointed)
        _same("rows of the stack", len(self.stack), len(NAMES))
        for name, row in zip(NAMES, self.stack, strict=True):
            _same(f"stacking weights of {name}", len(row), len(sizes))
            self._weighs_only_knowledge(name, row)
        return self

    def _weighs_only_knowledge(self, name: str, row: tuple[float, ...]) -> None:
        total = 0 if name in self.unavailable else 1
        if not all(weight >= 0 for weight in row) or not math.isclose(sum(row), total, abs_tol=1e-6):
            raise ValueError(f"stacking weights of {name} are {row}: they must be ≥ 0 and sum to {total}")
        for member, weight in zip(self.members, row, strict=True):
            if weight and not member.knows(name):
                raise ValueError(
                    f"stacking weights of {name} are {row}: the member of {member.size} does not know it, so "
                    "its weight must be 0"
                )


def _order(name: str) -> int:
    return INDEX.get(name, len(NAMES))


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{what}: the bundle says {found!r}, this program needs {expected!r}")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle.

    Attributes:
        contract: what `bundle.json` says.
        sha256: hash of `bundle.json`; as that holds the hash of every member, it names all of it.
        models: ONNX bytes by size, verified against the contract.
        variants: by size, the variant whose bytes stand in `models` instead of the member's own.
    """

    contract: Contract
    sha256: str
    models: dict[int, bytes]
    variants: dict[int, Variant] = field(default_factory=dict)


def read_contract(folder: Path) -> tuple[Contract, str]:
    """The contract in `folder` and its SHA-256, without reading the members.

    Raises:
        BundleError: no such file, not JSON, or not a valid contract; names each field at fault.
    """
    path = folder / CONTRACT_FILE
    raw = _read(path, _MAX_CONTRACT_BYTES)
    try:
        contract = Contract.model_validate_json(raw)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'contract'}: {fault['msg']}"
            for fault in error.errors()[:8]
        )
        raise BundleError(f"{path} is not a valid contract: {faults}") from None
    return contract, hashlib.sha256(raw).hexdigest()


def load_bundle(folder: Path, take: Sequence[VariantPrecision] = ()) -> Bundle:
    """The verified bundle in `folder`.

    Args:
        take: precisions of variants that are taken instead of a member, where it has one; the first counts.

    Raises:
        BundleError: anything in the folder is not what the contract says.
    """
    contract, sha256 = read_contract(folder)
    models = {member.size: _verified(folder, member) for member in contract.members}
    variants: dict[int, Variant] = {}
    for member in contract.members:
        for variant in sorted(member.variants, key=lambda each: _rank(each, take))[:1]:
            if variant.precision in take:
                models[member.size] = load_variant(folder, variant)
                variants[member.size] = variant
    return Bundle(contract=contract, sha256=sha256, models=models, variants=variants)


def _rank(variant: Variant, take: Sequence[VariantPrecision]) -> int:
    return take.index(variant.precision) if variant.precision in take else len(take)


def load_variant(folder: Path, variant: Variant) -> bytes:
    """The verified ONNX bytes of `variant`.

    Raises:
        BundleError: the file is not what the contract says.
    """
    return _verified(folder, variant)


def _verified(folder: Path, member: Member | Variant) -> bytes:
    path = folder / member.file
    model = _read(path, _MAX_MEMBER_BYTES)
    found = hashlib.sha256(model).hexdigest()
    if found != member.sha256:
        raise BundleError(
            f"{path} has SHA-256 {found}, the contract says {member.sha256}: "
            "the file was changed or damaged. Take the whole bundle from its source again."
        )
    return model


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        if path.is_symlink():
            raise BundleError(f"{path} is a symbolic link: a bundle's files must lie in its own folder")
        size = path.stat().st_size
        if size > most_bytes:
            raise BundleError(f"{path} has {size} bytes, more than the {most_bytes} a bundle's file may have")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}. Is this the folder of a bundle?"
        ) from error


def write_contract(folder: Path, contract: Contract) -> Path:
    """Write `contract` as `bundle.json` in `folder`; the members' files must already be there."""
    path = folder / CONTRACT_FILE
    path.write_text(contract.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path
