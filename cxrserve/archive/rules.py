"""The rules: which objects are worked on, and where their results go.

They come from one small YAML file (`rules_file.py`). Everything in it is checked when it is read, so that
nothing wrong in it waits for the first object. `deploy/rules.example.yaml` explains every key by example.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from cxrserve.archive.callers import Caller
from cxrserve.archive.matching import Match, Traits
from cxrserve.archive.peers import DimsePeer, Peer, PullServer, WorklistPeer
from cxrserve.errors import ConfigurationError
from cxrserve.schema import Strict

Priority = Literal["stat", "routine"]
# What is made of an image or a study; a rule may send fewer of them.
ResultKind = Literal["report", "overlay", "presentation-state", "segmentation"]
ConflictRule = Literal["hold", "archive", "newest", "pacs"]

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class RulesError(ConfigurationError):
    """The rules cannot be used; each fault stands on a line of its own."""

    slug = "rules-error"
    title = "The rules are refused"


class Route(Strict):
    """One destination of a rule; in the file a bare name, or a name with results of its own."""

    name: str
    results: tuple[ResultKind, ...] | None = Field(
        None, min_length=1, description="Which results go there; null: those of the rule."
    )


class Priors(Strict):
    """Earlier studies of the patient, fetched so that they stand beside the current one."""

    server: str = Field(
        description="One of `servers`, which is asked by QIDO-RS and WADO-RS; or a destination of the "
        "protocol dimse, which is asked by C-FIND and C-MOVE, and must know this node's AE title and address."
    )
    studies: int = Field(2, ge=1, le=20, description="How many, the newest first.")


class Rule(Strict):
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
    priors: Priors | None = Field(
        None,
        description="Fetch earlier studies of the patient whose images fit this rule; they are analysed, and "
        "their results stay here.",
    )

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

    @property
    def for_priors(self) -> Rule:
        """The rule of the images that this one has fetched: its own, from any caller, but nothing is sent."""
        return self.model_copy(
            update={
                "name": f"{self.name}:priors",  # no name in the file has a colon
                "match": self.match.model_copy(update={"calling_ae": ()}),
                "destinations": (),
                "results": ("report",),
                "priority": "routine",
                "priors": None,
            }
        )


class Retention(Strict):
    """Retention times. Results and the index stay."""

    images_days: float | None = Field(
        None, gt=0, description="Received images are deleted this long after they arrived; null: never."
    )
    quarantine_days: float | None = Field(None, gt=0, description="The same for what lies in quarantine.")


class Patients(Strict):
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


class Rules(Strict):
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
    worklists: dict[_Name, WorklistPeer] = Field(
        default_factory=dict, description="Worklist managers whose workitems are performed here."
    )
    rules: tuple[Rule, ...] = Field(min_length=1)
    patients: Patients = Patients()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_patient_source()
        for name, worklist in self.worklists.items():
            if worklist.images not in self.servers:
                raise ValueError(
                    f"worklist {name}: images: no server is called {worklist.images}; there is: "
                    f"{', '.join(self.servers) or 'none'}"
                )
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
            known_peers = [*self.servers, *self._dimse_destinations]
            if rule.priors is not None and rule.priors.server not in known_peers:
                raise ValueError(
                    f"rule {rule.name}: priors: no server is called {rule.priors.server}, and no destination "
                    f"of the protocol dimse; there is: {', '.join(known_peers) or 'none'}"
                )
        return self

    def _check_patient_source(self) -> None:
        source = self.patients.source
        if (source is None) == (self.patients.conflicts == "pacs"):
            raise ValueError(
                "patients: `source` names the PACS to ask, and stands with conflicts: pacs alone"
            )
        known = [*self.servers, *self._dimse_destinations]
        if source is not None and source not in known:
            raise ValueError(
                f"patients: no server, and no destination of the protocol dimse, is called {source}; "
                f"there is: {', '.join(known) or 'none'}"
            )

    @property
    def _dimse_destinations(self) -> list[str]:
        return [name for name, peer in self.destinations.items() if isinstance(peer, DimsePeer)]

    @property
    def moves_priors(self) -> bool:
        """True where a rule has priors sent to this node by C-MOVE."""
        return any(rule.priors is not None and rule.priors.server not in self.servers for rule in self.rules)

    @property
    def keywords(self) -> frozenset[str]:
        """The DICOM keywords of all elements that any rule looks at."""
        return frozenset(keyword for rule in self.rules for keyword in rule.match.tags)

    def rule_for(self, traits: Traits) -> Rule | None:
        """The first rule that fits; None where none does."""
        return next((rule for rule in self.rules if rule.match.fits(traits)), None)

    def prior_rule_for(self, name: str, traits: Traits) -> Rule | None:
        """The rule of an image that rule `name` has fetched; None where it does not fit, or is gone."""
        rule = next((rule.for_priors for rule in self.rules if rule.name == name), None)
        return rule if rule is not None and rule.match.fits(traits) else None

    def quiet_s(self, rule: Rule) -> float:
        """Quiet time of a study that matched `rule`, in seconds."""
        return self.quiet_time_s if rule.quiet_time_s is None else rule.quiet_time_s


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
        """The rules at this moment and those of the priors that they fetch, by their names."""
        return {each.name: each for rule in self.now.rules for each in (rule, rule.for_priors)}

    def replace(self, rules: Rules) -> None:
        """Use `rules` from now on.

        Raises:
            RulesError: they name other destinations, servers or worklists, whose connections are made at the
                start.
        """
        for key in ("destinations", "servers", "worklists"):
            if getattr(rules, key) != getattr(self.now, key):
                raise RulesError(f"{key} differ from those at the start. Restart the station to change them.")
        if rules.patients.source != self.now.patients.source:
            raise RulesError("patients.source differs from that at the start. Restart the station.")
        self.now = rules
