"""The site file: its fields, loading, binding to a bundle, and its use with that bundle.

It holds numbers alone, no picture and nothing that names a patient. It is versioned apart from the bundle,
which it does not change: at start its calibration and operating points take the place of the bundle's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cxrserve.bundle.adopted_site import AdoptedSite, Outcome
from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import Bundle, Contract
from cxrserve.bundle.operating_point import DecisionPair, OperatingPoint
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.errors import ConfigurationError
from cxrserve.findings import NAMES
from cxrserve.schema import Strict
from cxrserve.watch.reference import GroupReference

_MAX_BYTES: Final = 16 * 2**20
_HEX_SHA256: Final = r"^[0-9a-f]{64}$"
# A station's name becomes a label of metrics and stands on pages: a plain short name.
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$"


class Site(Strict):
    """`site.json`."""

    format: Literal[1] = 1
    name: str = Field(pattern=_NAME)
    version: int = Field(ge=1, description="Counts up with each version of the same site.")
    created: str = Field(description="Date, ISO 8601.")
    note: str = Field("", max_length=2000)
    bundle_sha256: str = Field(pattern=_HEX_SHA256)
    arithmetic: Arithmetic
    unit: Literal["images"] = Field("images", description="Unit that was fitted.")
    previous: str | None = Field(
        None,
        pattern=_HEX_SHA256,
        description="SHA-256 of the file of the version before; null for the first.",
    )
    calibration: dict[str, Calibration] = Field(
        default_factory=dict, description="By finding; those that are not here keep the bundle's."
    )
    operating_points: dict[str, OperatingPoint] = Field(default_factory=dict, description="Likewise.")
    watch: tuple[GroupReference, ...] = Field((), description="References of the watch.")
    stations: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Names of stations, and the AE titles and clients that are theirs."
    )
    evidence: tuple[Outcome, ...] = ()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for table in (self.calibration, self.operating_points):
            if unknown := [name for name in table if name not in NAMES]:
                raise ValueError(f"these are no findings: {unknown}")
        senders = [sender for titles in self.stations.values() for sender in titles]
        if twice := sorted({sender for sender in senders if senders.count(sender) > 1}):
            raise ValueError(f"these senders belong to two stations: {twice}")
        for name in self.stations:
            if len(name) > 40 or not name.isprintable() or name in ("all", "other"):
                raise ValueError(f"{name!r} cannot be the name of a station")
        if (self.version == 1) != (self.previous is None):
            raise ValueError(
                f"version {self.version} {'has' if self.previous else 'has no'} version before it: the first "
                "has none, and all others have one"
            )
        return self

    @property
    def label(self) -> str:
        """Name and version, as every answer and object names them."""
        return f"site {self.name} v{self.version}"

    @property
    def station_of(self) -> Mapping[str, str]:
        """The station of each AE title and client."""
        return {sender: name for name, senders in self.stations.items() for sender in senders}


def read_site(path: Path) -> tuple[Site, str]:
    """The site file at `path`, and its SHA-256.

    Raises:
        ConfigurationError: it cannot be read, or is not valid; names each field at fault.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError(f"{path} has more than {_MAX_BYTES} bytes: this is no site file.")
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the site file {path} (CXRSERVE_SITE) cannot be read: {error.strerror}"
        ) from None
    try:
        return Site.model_validate_json(raw), hashlib.sha256(raw).hexdigest()
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors()[:8]
        )
        raise ConfigurationError(f"{path} is not a valid site file: {faults}") from None


def site_bytes(site: Site) -> bytes:
    """The content of its file."""
    return (site.model_dump_json(indent=1) + "\n").encode()


def check_binding(site: Site, bundle_sha256: str, contract: Contract, arithmetic: Arithmetic) -> None:
    """Check that the site file was made for this bundle, its findings, and this arithmetic.

    Raises:
        ConfigurationError: it was not; shows both sides.
    """
    _check_bundle(site, bundle_sha256, contract)
    check_arithmetic(site, arithmetic)


def adopt(bundle: Bundle, site: Site, sha256: str) -> Bundle:
    """The bundle with the site's calibration and operating points, and the site's name in its outputs.

    Raises:
        ConfigurationError: the site file belongs to another bundle, or has findings that this one does not
            support; shows both sides.
    """
    _check_bundle(site, bundle.sha256, bundle.contract)
    return replace(
        bundle,
        contract=adopted_contract(bundle.contract, site),
        site=AdoptedSite(
            name=site.name,
            version=site.version,
            sha256=sha256,
            created=site.created,
            note=site.note,
            previous=site.previous,
            evidence=site.evidence,
        ),
    )


def _check_bundle(site: Site, sha256: str, contract: Contract) -> None:
    if site.bundle_sha256 != sha256:
        raise ConfigurationError(
            f"{site.label} was made for the bundle with the SHA-256 {site.bundle_sha256}; this one has "
            f"{sha256}. Make a new version with `cxrserve site draft`, or use that bundle."
        )
    named = {*site.calibration, *site.operating_points}
    if unknown := sorted(named & set(contract.unavailable)):
        raise ConfigurationError(
            f"{site.label} has numbers for {', '.join(unknown)}, which the bundle {contract.name} does not "
            "support."
        )


def adopted_contract(contract: Contract, site: Site) -> Contract:
    """The contract with the site's numbers in the place of its own."""
    by_name = {name: contract.calibration_of(name) for name in NAMES if name not in contract.unavailable}
    changed = contract.model_dump() | {
        "calibration": {
            name: calibration.model_dump() for name, calibration in (by_name | site.calibration).items()
        },
        "operating_points": {
            name: point.model_dump()
            for name, point in (contract.operating_points | site.operating_points).items()
        },
    }
    return Contract.model_validate(changed)


def check_arithmetic(site: Site, arithmetic: Arithmetic) -> None:
    """Check that the engine computes as it did when the site file was made.

    Raises:
        ConfigurationError: it does not; shows both sides.
    """
    if site.arithmetic != arithmetic:
        raise ConfigurationError(
            f"{site.label} was made with {_words(site.arithmetic)}; this machine computes with "
            f"{_words(arithmetic)}. Choose that engine and precision (CXRSERVE_ENGINE, CXRSERVE_PRECISION), "
            "or make a new version with `cxrserve site draft`."
        )


def _words(arithmetic: Arithmetic) -> str:
    precisions = ", ".join(f"{size}: {precision}" for size, precision in arithmetic.precisions.items())
    return f"{arithmetic.engine} ({precisions})"


def moved_point(point: OperatingPoint, before: Calibration, after: Calibration) -> OperatingPoint:
    """The same operating point under another calibration: no decision changes, only the number beside it."""
    moved = point.model_copy(
        update={
            "threshold": _moved(point.threshold, before, after),
            "curve": point.curve and point.curve.moved(lambda threshold: _moved(threshold, before, after)),
        }
    )
    return moved if point.pair is None else with_pair(moved, point.pair, before, after)


def with_pair(
    point: OperatingPoint, pair: DecisionPair, before: Calibration, after: Calibration
) -> OperatingPoint:
    """The operating point with a pair that was chosen under the calibration before."""
    ends = {name: _moved(getattr(pair, name), before, after) for name in ("rule_out", "rule_in")}
    return point.model_copy(update={"pair": pair.model_copy(update=ends)})


def _moved(probability: float, before: Calibration, after: Calibration) -> float:
    return float(after.apply(before.invert(probability)))
