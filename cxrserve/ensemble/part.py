"""What every part of a bundle's contract is: unchangeable, and without a field that nobody knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the contract."""

    model_config = ConfigDict(frozen=True, extra="forbid")
