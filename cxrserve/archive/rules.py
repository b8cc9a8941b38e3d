"""The rules: one small YAML file that says which objects are worked on and where their results go.

Everything in it is checked when it is read, with the line and the key of each fault, so that nothing wrong
in it waits for the first object. `deploy/rules.example.yaml` explains every key by example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cxrserve.archive.callers import Caller
from cxrserve.archive.tls_files import TlsFiles
from cxrserve.errors import ConfigurationError

Priority = Literal["stat", "routine"]
# What is made of an image or a study; a rule may send fewer of them.
ResultKind = Literal["report", "overlay", "presentation-state", "segmentation"]

_AE_TITLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_MOST_BYTES: Final = 2**20
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_Patterns = tuple[str, ...]


class RulesError(ConfigurationError):
    """The rules cannot be used; each fault stands on a line of its own."""

    slug = "rules-error"
    title = "The rules are refused"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DimsePeer(_Part):
    """A destination that takes C-STORE."""

    protocol: Literal["dimse"]
    ae_title: str = Field(description="The peer's AE title.")
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsFiles | None = None
    timeout_s: float = Field(30.0, gt=0, description="Time each step of an association may take.")

    @field_validator("ae_title")
    @classmethod
    def _is_ae_title(cls, value: str) -> str:
        if not _AE_TITLE.fullmatch(value):
            raise ValueError("an AE title has 1 to 16 ASCII characters, no backslash (PS3.5 6.2)")
        return value


class WebService(_Part):
    """A DICOMweb service, and how to get in."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/[^\s]*)?$", description="Base of the DICOMweb service.")
    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's.")
    token_file: Path | None = Field(None, description="File with a bearer token.")
    username: str | None = None
    password_file: Path | None = Field(None, description="File with the password of `username`.")
    timeout_s: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")
        if self.token_file is not None and self.username is not None:
            raise ValueError("token_file or username, not both")
        return self


class WebPeer(WebService):
    """A destination that takes STOW-RS."""

    protocol: Literal["stow"]


class PullServer(WebService):
    """A PACS that studies are fetched from, by QIDO-RS and WADO-RS."""

    modalities: tuple[str, ...] = Field(("CR", "DX"), min_length=1, description="Of the images to fetch.")
    every_s: float | None = Field(
        None, ge=10, description="How often to look for new images; null: only when asked for a study."
    )
    days: int = Field(1, ge=0, le=3650, description="How many days before today a study's date may lie.")


Peer = Annotated[DimsePeer | WebPeer, Field(discriminator="protocol")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What rules look at, as the object and the association say it; "" where they say nothing."""

    modality: str = ""
    body_part: str = ""
    view: str = ""
    station: str = ""
    calling_ae: str = ""


class Match(_Part):
    """Patterns (`*`, `?`, `[…]`; any case) for each trait: one of the list must fit; no list fits always.

    An empty string fits an object that does not say.
    """

    modality: _Patterns = ()
    body_part: _Patterns = ()
    view: _Patterns = ()
    station: _Patterns = ()
    calling_ae: _Patterns = ()

    @field_validator("*", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def fits(self, traits: Traits) -> bool:
        """True where every list that is given has a pattern that fits."""
        return all(
            not patterns or any(fnmatchcase(getattr(traits, name).upper(), each.upper()) for each in patterns)
            for name, patterns in self
        )


class Route(_Part):
    """One destination of a rule; in the file a bare name, or a name with results of its own."""

    name: str
    results: tuple[ResultKind, ...] | None = Field(
        None, min_length=1, description="Which results go there; null: those of the rule."
    )


class Rule(_Part):
    """What is done with the objects that fit."""

    name: _Name
    match: Match = Match()
    destinations: tuple[Route, ...] = Field(
        (), description="Names of destinations, or a name and results each; none: results stay here."
    )
    results: tuple[ResultKind, ...] = Field(
        ("report", "overlay", "presentation-state"),
        min_length=1,
        description="Which results are sent. The report of an image that was refused is always sent.",
    )
    priority: Priority = "routine"
    quiet_time_s: float | None = Field(None, ge=0, description="As in the file's head, for this rule.")

    @field_validator("destinations", mode="before")
    @classmethod
    def _bare_names(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [{"name": each} if isinstance(each, str) else each for each in value]

    def results_for(self, route: Route) -> tuple[ResultKind, ...]:
        """Which results go by `route`, one of `destinations`."""
        return self.results if route.results is None else route.results

    @property
    def made(self) -> frozenset[ResultKind]:
        """Which results are made: those that stay here, and those that any destination gets."""
        return frozenset(self.results).union(*(self.results_for(each) for each in self.destinations))


class Retention(_Part):
    """How long things are kept. Results and the index stay."""

    images_days: float | None = Field(
        None, gt=0, description="Received images are deleted this long after they arrived; null: never."
    )
    quarantine_days: float | None = Field(None, gt=0, description="The same for what lies in quarantine.")


class Rules(_Part):
    """The whole file. The first rule that fits an object takes it."""

    otherwise: Literal["ignore", "refuse"] = Field(
        "refuse", description="What becomes of an object that no rule takes: acknowledged or refused."
    )
    quiet_time_s: float = Field(
        30.0, ge=0, description="A study is complete when nothing has arrived for it this long."
    )
    callers: tuple[Caller, ...] = Field((), description="Who may send by DICOM; none: everyone may.")
    destinations: dict[_Name, Peer] = Field(default_factory=dict)
    servers: dict[_Name, PullServer] = Field(default_factory=dict, description="Where to fetch studies.")
    rules: tuple[Rule, ...] = Field(min_length=1)
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [rule.name for rule in self.rules]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several rules have the name {', '.join(doubled)}; names must differ")
        for rule in self.rules:
            routes = [route.name for route in rule.destinations]
            if twice := sorted({name for name in routes if routes.count(name) > 1}):
                raise ValueError(f"rule {rule.name}: {', '.join(twice)} stands twice among its destinations")
            if unknown := [name for name in routes if name not in self.destinations]:
                known = ", ".join(self.destinations) or "none"
                raise ValueError(
                    f"rule {rule.name}: no destination is called {', '.join(unknown)}; there is: {known}"
                )
        return self

    def rule_for(self, traits: Traits) -> Rule | None:
        """The first rule that fits; None where none does."""
        return next((rule for rule in self.rules if rule.match.fits(traits)), None)

    def quiet_s(self, rule: Rule) -> float:
        """How long a study that `rule` took must be quiet."""
        return self.quiet_time_s if rule.quiet_time_s is None else rule.quiet_time_s


# Without a file: every chest-like projection image is worked on, and the results stay in the archive.
DEFAULT: Final = Rules(rules=(Rule(name="radiographs", match=Match(modality=("CR", "DX", "OT", "SC"))),))


def load_rules(path: Path | None) -> Rules:
    """The rules in the file `path`, or `DEFAULT` where there is none.

    Raises:
        RulesError: the file cannot be read, or is wrong; every fault with its line and key.
    """
    if path is None:
        return DEFAULT
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RulesError(f"{path} is larger than {_MOST_BYTES} bytes: these are no rules.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path} cannot be read: {type(error).__name__}. Give a YAML file.") from None
    return parse_rules(text, str(path))


def parse_rules(text: str, name: str) -> Rules:
    """The rules in `text`; `name` stands before each fault.

    Raises:
        RulesError: as `load_rules`.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RulesError(f"{name}{_where(error)}: this is not YAML. Check quotes and indentation.") from None
    if node is None:
        raise RulesError(f"{name} is empty; it needs at least `rules:` with one rule.")
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        raise RulesError("\n".join(_faults(error, node, name))) from None


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _faults(error: ValidationError, node: yaml.Node, name: str) -> Iterator[str]:
    for fault in error.errors():
        if fault["type"] == "too_short" and fault["loc"] and len(error.errors()) > 1:
            continue  # pydantic counts only the sound items, so a faulty one counts twice
        line, path = _place(node, fault["loc"])
        value = "" if isinstance(fault["input"], dict | list) else f", not {str(fault['input'])[:60]!r}"
        message = fault["msg"].removeprefix("Value error, ")
        yield f"{name}:{line}: {'.'.join(path) or 'the file'}: {message}{value}"


def _place(node: yaml.Node, location: Sequence[int | str]) -> tuple[int, list[str]]:
    """The line of the innermost part of `location` that stands in the file, and the keys that lead there."""
    line, path = node.start_mark.line + 1, []
    for part in location:
        found: Any = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            # A missing key is named at its parent's line; a union's tag is no key of the file.
            if part not in ("dimse", "stow"):
                path.append(str(part))
            continue
        key, node = found
        line = key.start_mark.line + 1
        path.append(str(part))
    return line, path
