"""The rules: one small YAML file that says which objects are worked on and where their results go.

Everything in it is checked when it is read, with the line and the key of each fault, so that nothing wrong
in it waits for the first object. `deploy/rules.example.yaml` explains every key by example.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydicom.datadict import keyword_dict, tag_for_keyword

from cxrserve.archive.callers import Caller
from cxrserve.archive.tls_files import TlsFiles
from cxrserve.errors import ConfigurationError

Priority = Literal["stat", "routine"]
# What is made of an image or a study; a rule may send fewer of them.
ResultKind = Literal["report", "overlay", "presentation-state", "segmentation"]

_AE_TITLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_MAX_BYTES: Final = 2**20
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_Patterns = tuple[str, ...]
ConflictRule = Literal["hold", "archive", "newest", "pacs"]
ReportClass = Literal["comprehensive-3d", "comprehensive", "enhanced"]
_REPORT_CLASS: Final = (
    "SOP class of the structured report: comprehensive-3d, comprehensive or enhanced; null: "
)


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
    report_class: ReportClass | None = Field(
        None, description=_REPORT_CLASS + "the first of these that the peer accepts."
    )

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
    report_class: ReportClass | None = Field(None, description=_REPORT_CLASS + "comprehensive-3d.")


class Hl7Peer(_Part):
    """A destination that takes HL7 v2 result messages (ORU^R01) over MLLP."""

    protocol: Literal["hl7"]
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsFiles | None = None
    timeout_s: float = Field(30.0, gt=0, description="Time to connect, and to acknowledge a message.")
    receiving_application: str = Field("", max_length=180, description="MSH-5.")
    receiving_facility: str = Field("", max_length=180, description="MSH-6.")
    sending_application: str = Field("CXRSERVE", min_length=1, max_length=180, description="MSH-3.")
    sending_facility: str = Field("", max_length=180, description="MSH-4.")
    processing_id: Literal["P", "T", "D"] = Field("P", description="MSH-11: production, training, debugging.")
    character_set: Literal["UNICODE UTF-8", "8859/1"] = Field(
        "UNICODE UTF-8", description="MSH-18. Characters that 8859/1 lacks are sent as a question mark."
    )


class FhirPeer(WebService):
    """A destination that takes FHIR R4 DiagnosticReports, by an update on the report's identifier."""

    protocol: Literal["fhir"]


class PullServer(WebService):
    """A PACS that studies are fetched from, by QIDO-RS and WADO-RS."""

    modalities: tuple[str, ...] = Field(("CR", "DX"), min_length=1, description="Of the images to fetch.")
    every_s: float | None = Field(
        None, ge=10, description="How often to look for new images; null: only when asked for a study."
    )
    days: int = Field(1, ge=0, le=3650, description="How many days before today a study's date may lie.")


Peer = Annotated[DimsePeer | WebPeer | Hl7Peer | FhirPeer, Field(discriminator="protocol")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """Attributes that rules match, from the object and the association; "" if missing."""

    modality: str = ""
    body_part: str = ""
    view: str = ""
    station: str = ""
    calling_ae: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Match(_Part):
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


class Route(_Part):
    """One destination of a rule; in the file a bare name, or a name with results of its own."""

    name: str
    results: tuple[ResultKind, ...] | None = Field(
        None, min_length=1, description="Which results go there; null: those of the rule."
    )


class Rule(_Part):
    """A rule: matching objects, their results and destinations."""

    name: _Name
    match: Match = Match()
    destinations: tuple[Route, ...] = Field(
        (), description="Names of destinations, or a name and results each; none: results stay here."
    )
    results: tuple[ResultKind, ...] = Field(
        ("report", "overlay", "presentation-state"),
        min_length=1,
        description="Which results are sent. The report of an image that was refused is sent all the same.",
    )
    refusal_reports: bool = Field(
        True,
        description="Send the report of an image that was not analysed. false: such an image gets no report, "
        "where no other image of its study asks for one.",
    )
    priority: Priority = "routine"
    quiet_time_s: float | None = Field(None, ge=0, description="As in the file's head, for this rule.")

    @field_validator("destinations", mode="before")
    @classmethod
    def _bare_names(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [
            {"name": destination} if isinstance(destination, str) else destination for destination in value
        ]

    def results_for(self, route: Route) -> tuple[ResultKind, ...]:
        """Results that are sent by `route`, one of `destinations`."""
        return self.results if route.results is None else route.results

    @property
    def made(self) -> frozenset[ResultKind]:
        """Results that are made: those that stay here, and those that any destination gets."""
        return frozenset(self.results).union(*(self.results_for(route) for route in self.destinations))


class Retention(_Part):
    """Retention times. Results and the index stay."""

    images_days: float | None = Field(
        None, gt=0, description="Received images are deleted this long after they arrived; null: never."
    )
    quarantine_days: float | None = Field(None, gt=0, description="The same for what lies in quarantine.")


class Patients(_Part):
    """Reconciliation: which side is right where an object names another patient than its stored study.

    hold: a corrected copy of a stored image moves its study; any other object of another patient is held in
    quarantine until its study is moved to that patient, or a person decides. archive: the stored study is
    right. newest: the object that arrived last is right. pacs: the PACS `source` is asked.
    """

    conflicts: ConflictRule = "hold"
    source: str | None = Field(
        None,
        description="With `pacs`: one of `servers`, which is asked by QIDO-RS, or a destination of the "
        "protocol dimse, which is asked by C-FIND.",
    )


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
    patients: Patients = Patients()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_patient_source()
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

    def _check_patient_source(self) -> None:
        source = self.patients.source
        if (source is None) == (self.patients.conflicts == "pacs"):
            raise ValueError(
                "patients: `source` names the PACS to ask, and stands with conflicts: pacs alone"
            )
        dimse = [name for name, peer in self.destinations.items() if isinstance(peer, DimsePeer)]
        if source is not None and source not in (known := [*self.servers, *dimse]):
            raise ValueError(
                f"patients: no server, and no destination of the protocol dimse, is called {source}; "
                f"there is: {', '.join(known) or 'none'}"
            )

    @property
    def keywords(self) -> frozenset[str]:
        """The DICOM keywords of all elements that any rule looks at."""
        return frozenset(keyword for rule in self.rules for keyword in rule.match.tags)

    def rule_for(self, traits: Traits) -> Rule | None:
        """The first rule that fits; None where none does."""
        return next((rule for rule in self.rules if rule.match.fits(traits)), None)

    def quiet_s(self, rule: Rule) -> float:
        """Quiet time of a study that matched `rule`, in seconds."""
        return self.quiet_time_s if rule.quiet_time_s is None else rule.quiet_time_s


_KEYS: Final = sorted(
    {
        name
        for model in (
            Rules,
            Rule,
            Match,
            Route,
            Retention,
            Patients,
            DimsePeer,
            WebPeer,
            Hl7Peer,
            FhirPeer,
            PullServer,
            Caller,
            TlsFiles,
        )
        for name in model.model_fields
    }
)
# Without a file: every chest-like projection image is worked on, and the results stay in the archive.
DEFAULT: Final = Rules(rules=(Rule(name="radiographs", match=Match(modality=("CR", "DX", "OT", "SC"))),))


class CurrentRules:
    """The rules of a running node, which can be replaced by others with the same peers. Thread-safe.

    Attributes:
        now: the rules at this moment; take them once for each decision.
    """

    def __init__(self, rules: Rules) -> None:
        self.now = rules

    @property
    def by_name(self) -> dict[str, Rule]:
        """The rules at this moment, by their names."""
        return {rule.name: rule for rule in self.now.rules}

    def replace(self, rules: Rules) -> None:
        """Use `rules` from now on.

        Raises:
            RulesError: they name other destinations or servers, whose connections are made at the start.
        """
        for key in ("destinations", "servers"):
            if getattr(rules, key) != getattr(self.now, key):
                raise RulesError(f"{key} differ from those at the start. Restart the station to change them.")
        if rules.patients.source != self.now.patients.source:
            raise RulesError("patients.source differs from that at the start. Restart the station.")
        self.now = rules


def load_rules(path: Path | None) -> Rules:
    """The rules in the file `path`, or `DEFAULT` where there is none.

    Raises:
        RulesError: the file cannot be read, or is wrong; every fault with its line and key.
    """
    if path is None:
        return DEFAULT
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RulesError(f"{path} is larger than {_MAX_BYTES} bytes: these are no rules.")
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
    if doubled := list(_doubled_keys(node)):
        raise RulesError(
            "\n".join(f"{name}:{row}: the key {key} stands twice; only one counts." for row, key in doubled)
        )
    if node is None:
        raise RulesError(f"{name} is empty; it needs at least `rules:` with one rule.")
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        raise RulesError("\n".join(_faults(error, node, name))) from None


def _doubled_keys(node: yaml.Node | None, visited: set[int] | None = None) -> Iterator[tuple[int, str]]:
    """Line and name of each key that stands twice in its mapping: YAML keeps the last one silently."""
    visited = set() if visited is None else visited
    if id(node) in visited:  # an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    yield key.start_mark.line + 1, key.value
                keys.add(key.value)
            yield from _doubled_keys(value, visited)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _doubled_keys(value, visited)


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _faults(error: ValidationError, node: yaml.Node, name: str) -> Iterator[str]:
    for fault in error.errors():
        if fault["type"] == "too_short" and fault["loc"] and len(error.errors()) > 1:
            continue  # pydantic counts only the sound items, so a faulty one counts twice
        row, path = _place(node, fault["loc"])
        value = "" if isinstance(fault["input"], dict | list) else f", not {str(fault['input'])[:60]!r}"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            near = get_close_matches(str(fault["loc"][-1]), _KEYS, 1)
            message = "there is no such key" + (f"; is it {near[0]}?" if near else "")
        yield f"{name}:{row}: {'.'.join(path) or 'the file'}: {message}{value}"


def _place(node: yaml.Node, location: Sequence[int | str]) -> tuple[int, list[str]]:
    """The line of the innermost part of `location` that stands in the file, and the keys that lead there."""
    row, path = node.start_mark.line + 1, []
    for part in location:
        entry: Any = None
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entry = (node.value[part], node.value[part])
        if entry is None:
            # A missing key is named at its parent's line; a union's tag is no key of the file.
            if part not in ("dimse", "stow", "hl7", "fhir"):
                path.append(str(part))
            continue
        key, node = entry
        row = key.start_mark.line + 1
        path.append(str(part))
    return row, path
