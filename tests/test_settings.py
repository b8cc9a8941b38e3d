"""Every setting is documented, in the program and in deploy/SETTINGS.md, in the same words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from cxrserve.settings import Settings

README = Path(__file__).resolve().parents[1] / "README.md"
PAGE = README.parent / "deploy" / "SETTINGS.md"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")


def rows(page: Path) -> dict[str, tuple[str, str]]:
    """The settings in the tables of a page: name, default and description."""
    found = re.findall(
        r"^\| `CXRSERVE_([A-Z0-9_]+)` \| (.+?) \| (.+) \|$", page.read_text("utf-8"), re.MULTILINE
    )
    return {name.lower(): (default, description) for name, default, description in found}


def test_the_page_lists_exactly_the_settings() -> None:
    assert list(rows(PAGE)) == list(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_page_says_what_the_program_says(name: str) -> None:
    default, description = rows(PAGE)[name]
    field = Settings.model_fields[name]
    assert description == field.description
    if field.default_factory is None:
        value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        assert default.split(" (")[0] == (str(value) if value not in (None, "") else "none")


def test_the_readme_names_settings_with_their_defaults() -> None:
    short, long = rows(README), rows(PAGE)
    assert len(short) == 8
    assert {name: default for name, (default, _) in short.items()} == {name: long[name][0] for name in short}


@pytest.mark.parametrize(
    "name", [name for name in Settings.model_fields if name.split("_")[-1] in {"s", "bytes", "pixels"}]
)
def test_units_are_numbers_above_zero(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: 0})


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSERVE_PORT", "9000")
    assert Settings().port == 9000


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
