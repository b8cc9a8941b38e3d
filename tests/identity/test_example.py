"""The example of the single sign-on file can be read, and names every key."""

from __future__ import annotations

import re
from pathlib import Path

from cxrserve.identity.oidc_config import LoginConfig, OidcConfig, load_oidc

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "oidc.example.toml"


def test_the_example_is_a_configuration() -> None:
    config = load_oidc(EXAMPLE)
    assert config.roles["pacs-admin"] == ("admin",)
    assert config.login is not None


def test_the_example_explains_the_keys_that_an_administrator_sets() -> None:
    text = EXAMPLE.read_text()
    internal = {"scopes", "leeway_s", "keys_max_age_s", "keys_min_refetch_s"}
    for name in {*OidcConfig.model_fields, *LoginConfig.model_fields} - internal:
        assert re.search(rf"^(# |\[)?{name}\b", text, re.MULTILINE), name
