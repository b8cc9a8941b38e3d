"""Fixtures of all tests: a tiny real bundle, settings, radiographs as bytes, and a real server.

Nothing is mocked: the server is uvicorn on a port, with the decode workers and the engines that serve.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings

from cxrserve.settings import Settings
from tests import radiographs
from tests.bundles import write_tiny_bundle
from tests.servers import Running, running
from tests.trained import command, finish

# A property holds however slow the machine is; Hypothesis would fail an example that takes over 0.2 s.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

REALDATA = Path(__file__).resolve().parents[2] / "shared" / "realdata"


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Hide CXRSERVE_* variables of the shell from the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("CXRSERVE_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small real bundle; see `tests.bundles`."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of a small training run with `work` and `bundle`, and what it printed; see `tests.trained`."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, finish(command(folder))


class MakeSettings(Protocol):
    """Settings for tests; anything can be overridden by name."""

    def __call__(self, **overrides: object) -> Settings: ...


@pytest.fixture(scope="session")
def make_settings(tiny_bundle: Path) -> MakeSettings:
    """A factory of Settings: the tiny bundle, a free port, and one core."""

    def make(**overrides: object) -> Settings:
        usual: dict[str, object] = {"bundle": tiny_bundle, "port": 0, "threads": 1, "decode_workers": 1}
        return Settings.model_validate({**usual, **overrides})

    return make


class Serve(Protocol):
    """`with serve(max_waiting=0) as running:` starts a server of its own with these settings."""

    def __call__(self, **overrides: object) -> AbstractContextManager[Running]: ...


@pytest.fixture(scope="session")
def serve(make_settings: MakeSettings) -> Serve:
    """A factory of running servers; each is ready when its block begins."""
    return lambda **overrides: running(make_settings(**overrides))


@pytest.fixture(scope="session")
def server(serve: Serve) -> Iterator[Running]:
    """One running server with usual settings, shared by all tests; `server.url` is its address."""
    with serve(upload_timeout_s=20) as started:
        yield started


@pytest.fixture(scope="session")
def chest_jpeg() -> bytes:
    """A radiograph-like picture of 600 × 500 as grey JPEG."""
    return radiographs.jpeg()


@pytest.fixture(scope="session")
def chest_dicom() -> bytes:
    """The same as 12-bit DX for presentation, explicit little endian."""
    return radiographs.dicom()


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of the public radiographs (cxr/, dicom/, expect.json) beside the repository."""
    if not REALDATA.is_dir():
        pytest.skip(f"{REALDATA} is not there: the public radiographs lie beside the repository")
    return REALDATA
