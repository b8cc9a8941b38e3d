"""Words that no measurement can give, from the `card.yaml` that the user writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from cxrserve.errors import RequestError
from cxrserve.schema import Strict

NOT_SAID: Final = "Not said."


class Words(Strict):
    """Fields of `card.yaml`. Those that are missing stand in the documents as "Not said."."""

    developer: str = NOT_SAID
    contact: str = NOT_SAID
    release_stage: str = "Research software, not a medical device."
    availability: str = NOT_SAID
    regulatory_approval: str = "None: research use only."
    intended_users: str = NOT_SAID
    how_to_use: str = NOT_SAID
    patients: str = NOT_SAID
    biases: str = NOT_SAID
    risk_level: str = NOT_SAID
    bias_mitigation: str = NOT_SAID
    maintenance: str = NOT_SAID
    funding: str = NOT_SAID
    stakeholders: str = NOT_SAID
    publications: str = NOT_SAID
    consent: str = NOT_SAID
    fairness_goal: str = NOT_SAID
    safety_goal: str = NOT_SAID
    bibliography: str = NOT_SAID
    licence: str = "other"


def read_words(path: Path | None) -> Words:
    """Read `card.yaml`; without one, nothing is said.

    Raises:
        RequestError: it cannot be read, or has a field that no document has.
    """
    if path is None:
        return Words()
    try:
        return Words.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path} cannot be read: {type(error).__name__}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise RequestError(f"{path}: {faults}. The fields are {', '.join(Words.model_fields)}") from None
