"""Every setting is documented, for its users and in the README, or this is red."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from cxrserve.settings import Settings

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")


def test_the_readme_lists_exactly_the_settings() -> None:
    listed = re.findall(r"^\| `CXRSERVE_([A-Z0-9_]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_says_what_the_program_says(name: str) -> None:
    row = re.search(rf"^\| `CXRSERVE_{name.upper()}` \|.*$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    assert str(Settings.model_fields[name].description) in row.group()


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
