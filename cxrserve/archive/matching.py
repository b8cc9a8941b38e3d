"""Matching: the traits of a received object, and the patterns of a rule that they must fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pydantic import Field, field_validator
from pydicom.datadict import keyword_dict, tag_for_keyword

from cxrserve.schema import Strict

_Patterns = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """Attributes that rules match, from the object and the association; "" if missing."""

    modality: str = ""
    body_part: str = ""
    view: str = ""
    station: str = ""
    calling_ae: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Match(Strict):
    """Patterns (`*`, `?`, `[…]`; any case) for each trait: one of the list must fit; no list fits always.

    An empty string fits an object that does not say.
    """

    modality: _Patterns = ()
    body_part: _Patterns = ()
    view: _Patterns = ()
    station: _Patterns = ()
    calling_ae: _Patterns = ()
    tags: dict[str, _Patterns] = Field(
        default_factory=dict,
        description="The same for any element, by its DICOM keyword, such as StudyDescription; in items of "
        "a sequence as Sequence.Keyword, such as ProcedureCodeSequence.CodeValue.",
    )

    @field_validator("tags", mode="before")
    @classmethod
    def _one_or_many_each(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: (pattern,) if isinstance(pattern, str) else pattern for key, pattern in value.items()}

    @field_validator("tags")
    @classmethod
    def _are_keywords(cls, value: dict[str, _Patterns]) -> dict[str, _Patterns]:
        for path in value:
            for keyword in path.split("."):
                if tag_for_keyword(keyword) is None:
                    near = get_close_matches(keyword, keyword_dict, 1)
                    hint = f"; is it {near[0]}?" if near else ""
                    raise ValueError(f"no DICOM element has the keyword {keyword!r}{hint}")
        return value

    @field_validator("modality")
    @classmethod
    def _has_no_blank(cls, value: _Patterns) -> _Patterns:
        for pattern in value:
            if " " in pattern.strip():
                raise ValueError(f"{pattern!r} is one modality; commas stand between several: [CR, DX]")
        return value

    @field_validator("modality", "body_part", "view", "station", "calling_ae", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def fits(self, traits: Traits) -> bool:
        """True where every list that is given has a pattern that fits."""
        values = {name: (getattr(traits, name),) for name, _ in self if name != "tags"} | {
            keyword: traits.tags.get(keyword) or ("",) for keyword in self.tags
        }
        patterns = {name: pattern for name, pattern in self if name != "tags"} | self.tags
        return all(not patterns[name] or _fits(values[name], patterns[name]) for name in patterns)


def _fits(values: Iterable[str], patterns: _Patterns) -> bool:
    return any(fnmatchcase(value.upper(), pattern.upper()) for value in values for pattern in patterns)
