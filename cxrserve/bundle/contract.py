"""The bundle of a model: its contract `bundle.json`, and loading it verified.

A folder with `bundle.json` and one ONNX file for each member. Loading verifies everything the contract
says and refuses on any mismatch, showing both sides. Member files are read once: the bytes whose hash was
checked are the bytes the engine gets, so a file swapped in between cannot slip in. Weights travel as ONNX,
never as a pickle; an ONNX file that points at data outside itself is refused (`self_contained.py`).

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

from cxrserve.bundle.adopted_site import AdoptedSite
from cxrserve.bundle.calibration import Calibration, Unit, identity
from cxrserve.bundle.film_check import FilmCheck
from cxrserve.bundle.fold_metrics import FoldMetrics
from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.bundle.self_contained import check_self_contained
from cxrserve.bundle.triage_calibration import TriageCalibration
from cxrserve.errors import BundleError
from cxrserve.findings import INDEX, NAMES
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.schema import Strict

CONTRACT_FILE: Final = "bundle.json"
STRIDE: Final = 32  # pixels of a cell of the maps; sides of images are whole cells
_HEX_SHA256: Final = r"^[0-9a-f]{64}$"
# A plain name: no folder, no "..", no drive. The contract cannot point outside its own folder.
_PLAIN_ONNX_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$"
_MAX_CONTRACT_BYTES: Final = 4 * 2**20
_MAX_MEMBER_BYTES: Final = 2 * 2**30


class Lineage(Strict):
    """The origin of a bundle: everything needed to build the same bundle again."""

    recipe: str
    data: str = Field(description="What it was trained on, in words.")
    data_sha256: str | None = Field(None, pattern=_HEX_SHA256, description="Hash of the data manifest.")
    split_sha256: str | None = Field(None, pattern=_HEX_SHA256, description="Hash of the split.")
    code_version: str
    created: str = Field(description="Date, ISO 8601.")
    recipe_sha256: str | None = Field(None, pattern=_HEX_SHA256, description="Hash of all of the recipe.")
    part: str | None = Field(None, description="Which fold and seed this is, where the run had several.")
    settings: tuple[str, ...] = Field(
        (), description="Fields of the recipe that differ from the published ones, with both values."
    )
    weights: str | None = Field(None, description="The weights that training started from, with their hash.")
    steps: dict[str, str] = Field(
        default_factory=dict, description="Hash of inputs and outputs of each step that made the bundle."
    )
    id: str | None = Field(
        None, pattern=_HEX_SHA256, description="One hash of recipe, data, split, code and steps."
    )


class Gate(Strict):
    """Measured differences between a variant and its member; a variant may serve only with a gate."""

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


HeatmapCurve = Literal["linear", "square-root"]
VariantPrecision = Literal["fp16", "int8", "mixed"]


class Variant(Strict):
    """The same member in another precision: `image` uint8 in, `logits` and `maps` float32 out, as ever."""

    precision: VariantPrecision
    file: str = Field(pattern=_PLAIN_ONNX_NAME)
    sha256: str = Field(pattern=_HEX_SHA256)
    gate: Gate


class Member(Strict):
    """One network: it sees the radiograph at one size."""

    size: int = Field(ge=STRIDE, multiple_of=STRIDE, description="Side of its input in pixels.")
    file: str = Field(pattern=_PLAIN_ONNX_NAME)
    sha256: str = Field(pattern=_HEX_SHA256)
    architecture: str
    parameters: int = Field(ge=1)
    normalisation: str = Field(description="What the graph does to uint8 grey before its first layer.")
    findings: tuple[str, ...] | None = Field(
        None, description="The findings it supports, if not all 14; its output for others is never used."
    )
    bf16: Gate | None = Field(
        None,
        description="Differences between bfloat16 and single precision on this file; null if not measured or "
        "not admitted: then it is computed in single precision.",
    )
    variants: tuple[Variant, ...] = ()
    refused: dict[str, str] = Field(
        default_factory=dict, description="Precisions that were tried and refused, and why."
    )
    calibration: dict[str, Calibration] = Field(
        default_factory=dict,
        description="By finding: slope and intercept that its logit gets before it is stacked, and the slope "
        "its map likewise. Empty: stacked as it is.",
    )

    @model_validator(mode="after")
    def _check_calibration(self) -> Self:
        if bent := [name for name, each in self.calibration.items() if each.method == "beta"]:
            raise ValueError(
                f"a member's logits get a slope and an intercept; {', '.join(bent)} has a beta map"
            )
        return self

    def supports(self, name: str) -> bool:
        """True if it was trained to predict the finding `name`."""
        return self.findings is None or name in self.findings

    @property
    def supported(self) -> list[int]:
        """Indices of the findings it was trained to predict."""
        return [index for index, name in enumerate(NAMES) if self.supports(name)]


class Metrics(Strict):
    """Measured through the path that serves. `auc[finding]` holds one value a scale, "voting" and "stack"."""

    data: str
    images: int = Field(ge=1)
    auc: dict[str, dict[str, float | None]]
    folds: FoldMetrics | None = Field(None, description="The same over all folds and seeds of the run.")


class Contract(Strict):
    """`bundle.json`: everything a user of the model must know, and everything serving needs."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str
    lineage: Lineage
    findings: tuple[str, ...]
    preprocessing: Preprocessing
    members: tuple[Member, ...] = Field(min_length=1)
    stack: tuple[tuple[float, ...], ...] = Field(
        description="14 rows of one weight for each member, ≥ 0, sum 1; a row of zeros if none supports it."
    )
    calibration: Literal["identity"] | dict[str, Calibration] = Field(
        "identity", description="By finding: from an image's score, the stack's sum, to its probability."
    )
    operating_points: dict[str, OperatingPoint] = Field(description="Of images.")
    study_calibration: dict[str, Calibration] = Field(
        default_factory=dict,
        description="The same for a study's score, which is its images' by the study rule. Empty: as images.",
    )
    study_operating_points: dict[str, OperatingPoint] = Field(
        default_factory=dict, description="Of studies, likewise."
    )
    unavailable: tuple[str, ...] = Field(
        (), description="Findings that no member supports: no probability, no decision, no heatmap."
    )
    study_rule: Literal["maximum", "mean"] = "maximum"
    heatmap_scale: float = Field(
        gt=0,
        description="Value of a heatmap shown at full strength, for findings without a scale of their own; "
        "they are shown on a square-root scale.",
    )
    heatmap_scales: dict[str, float] = Field(
        default_factory=dict,
        description="By finding: value shown at full strength, on a linear scale, for all images.",
    )
    tolerance: dict[str, float] = Field(
        default_factory=dict, description="Largest difference found between engines, by what was compared."
    )
    metrics: Metrics | None = None
    triage: TriageCalibration | None = None
    film_check: FilmCheck | None = Field(
        None, description="The network that looks at every film first; null: the bundle has none."
    )
    intended_use: str
    limits: tuple[str, ...]

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        _same("findings", self.findings, NAMES)
        sizes = tuple(member.size for member in self.members)
        _same("sizes of the members (ascending)", sizes, tuple(sorted(set(sizes))))
        _same("preprocessing.sizes", self.preprocessing.sizes, sizes)
        for member in self.members:
            supported = tuple(name for name in NAMES if member.supports(name))
            _same(f"findings of the member of {member.size}", member.findings or NAMES, supported)
            precisions = [variant.precision for variant in member.variants]
            _same(f"variants of the member of {member.size}", precisions, sorted(set(precisions)))
        unsupported = tuple(
            name for name in NAMES if not any(member.supports(name) for member in self.members)
        )
        _same("unavailable findings", self.unavailable, unsupported)
        available = tuple(name for name in NAMES if name not in unsupported)
        _same("findings with an operating point", tuple(sorted(self.operating_points, key=_order)), available)
        _same("rows of the stack", len(self.stack), len(NAMES))
        for name, row in zip(NAMES, self.stack, strict=True):
            _same(f"stacking weights of {name}", len(row), len(sizes))
            self._check_weights(name, row)
        self._check_names()
        return self

    def _check_names(self) -> None:
        tables = {
            "calibration": () if isinstance(self.calibration, str) else self.calibration,
            "study_calibration": self.study_calibration,
            "study_operating_points": self.study_operating_points,
            "heatmap_scales": self.heatmap_scales,
            **{f"calibration of the member of {member.size}": member.calibration for member in self.members},
        }
        for table, names in tables.items():
            if unknown := [name for name in names if name not in NAMES or name in self.unavailable]:
                raise ValueError(f"{table} has findings that the bundle does not support: {unknown}")
        if wrong := [name for name, scale in self.heatmap_scales.items() if not 0 < scale < math.inf]:
            raise ValueError(f"heatmap_scales of {wrong} must be positive and finite")

    def calibration_of(self, name: str, unit: Unit = "images") -> Calibration:
        """The calibration of finding `name`; a study's is the images' where the bundle has no other."""
        by_name = {} if isinstance(self.calibration, str) else self.calibration
        images = by_name.get(name) or identity()
        return self.study_calibration.get(name, images) if unit == "studies" else images

    def full_strength(self, name: str) -> float:
        """The raw heatmap value that is shown at full strength for finding `name`."""
        return self.heatmap_scales.get(name, self.heatmap_scale)

    def heatmap_curve(self, name: str) -> HeatmapCurve:
        """The curve from raw values to colours: linear where the finding has a scale of its own."""
        return "linear" if name in self.heatmap_scales else "square-root"

    def point_of(self, name: str, unit: Unit = "images") -> OperatingPoint | None:
        """The operating point of finding `name`, likewise; None where no member supports it."""
        images = self.operating_points.get(name)
        return self.study_operating_points.get(name, images) if unit == "studies" else images

    def _check_weights(self, name: str, row: tuple[float, ...]) -> None:
        total = 0 if name in self.unavailable else 1
        if not all(weight >= 0 for weight in row) or not math.isclose(sum(row), total, abs_tol=1e-6):
            raise ValueError(f"stacking weights of {name} are {row}: they must be ≥ 0 and sum to {total}")
        for member, weight in zip(self.members, row, strict=True):
            if weight and not member.supports(name):
                raise ValueError(
                    f"stacking weights of {name} are {row}: the member of {member.size} does not support it, "
                    "so its weight must be 0"
                )


def _order(name: str) -> int:
    return INDEX.get(name, len(NAMES))


def _same(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise ValueError(f"{what}: the bundle has {actual!r}, this program needs {expected!r}")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle.

    Attributes:
        contract: the content of `bundle.json`.
        sha256: hash of `bundle.json`; as that holds the hash of every member, it names all of it.
        models: ONNX bytes by size, verified against the contract.
        site: the site file that was adopted, None without one.
        variants: by size, the variant whose bytes are in `models` instead of the member's.
    """

    contract: Contract
    sha256: str
    models: dict[int, bytes]
    variants: dict[int, Variant] = field(default_factory=dict)
    film_check_model: bytes | None = None
    site: AdoptedSite | None = None


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
        take: precisions whose variants replace a member; the first that a member has counts.

    Raises:
        BundleError: a file in the folder contradicts the contract.
    """
    contract, sha256 = read_contract(folder)
    models = {member.size: _verified(folder, member) for member in contract.members}
    variants: dict[int, Variant] = {}
    for member in contract.members:
        for variant in sorted(member.variants, key=lambda candidate: _rank(candidate, take))[:1]:
            if variant.precision in take:
                models[member.size] = load_variant(folder, variant)
                variants[member.size] = variant
    check = _verified(folder, contract.film_check) if contract.film_check else None
    return Bundle(contract=contract, sha256=sha256, models=models, variants=variants, film_check_model=check)


def check_pin(bundle: Bundle, folder: Path, pin: str) -> Bundle:
    """Check that the bundle is the one that the administrator named, and return it.

    Args:
        pin: SHA-256 of its bundle.json, which names every other file by its hash; "" for any bundle.

    Raises:
        BundleError: it is another one.
    """
    if pin and bundle.sha256 != pin.lower():
        raise BundleError(
            f"{folder} has the SHA-256 {bundle.sha256}; CXRSERVE_BUNDLE_SHA256 names {pin.lower()}. Bring "
            "the named bundle back, or set the new value after checking where this one comes from."
        )
    return bundle


def _rank(variant: Variant, take: Sequence[VariantPrecision]) -> int:
    return take.index(variant.precision) if variant.precision in take else len(take)


def load_variant(folder: Path, variant: Variant) -> bytes:
    """The verified ONNX bytes of `variant`.

    Raises:
        BundleError: the file contradicts the contract.
    """
    return _verified(folder, variant)


def _verified(folder: Path, member: Member | Variant | FilmCheck) -> bytes:
    path = folder / member.file
    model = _read(path, _MAX_MEMBER_BYTES)
    sha256 = hashlib.sha256(model).hexdigest()
    if sha256 != member.sha256:
        raise BundleError(
            f"{path} has SHA-256 {sha256}, the contract says {member.sha256}: "
            "the file was changed or damaged. Take the whole bundle from its source again."
        )
    check_self_contained(model, str(path))
    return model


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.is_symlink():
            raise BundleError(f"{path} is a symbolic link: the files of a bundle must be in its own folder")
        size = path.stat().st_size
        if size > max_bytes:
            raise BundleError(f"{path} has {size} bytes, more than the maximum of {max_bytes}")
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
