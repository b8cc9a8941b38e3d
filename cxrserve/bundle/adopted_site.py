"""The site file whose numbers a bundle serves, as answers and pages name it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from cxrserve.schema import Strict


class Outcome(Strict):
    """The outcome for one finding: what was measured, and what was adopted."""

    finding: str
    adopted: bool
    why: str = Field(description="The reason, in words.")
    films: int = Field(ge=0)
    patients: int = Field(ge=0)
    events: int = Field(ge=0, description="Films with the finding.")
    checked_films: int = Field(0, ge=0, description="Films of the checking half.")
    log_loss_before: float | None = Field(
        None, description="On the checking half, with the bundle's numbers."
    )
    log_loss_after: float | None = Field(None, description="On the same, with those of the fitting half.")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptedSite:
    """The site file whose numbers are in the contract, in the place of the bundle's own.

    Attributes:
        sha256: of the file.
        created: date, ISO 8601.
        previous: SHA-256 of the version before; None for the first.
        evidence: the outcome for each finding.
    """

    name: str
    version: int
    sha256: str
    created: str = ""
    note: str = ""
    previous: str | None = None
    evidence: tuple[Outcome, ...] = ()

    def __str__(self) -> str:
        return f"site {self.name} v{self.version}"
