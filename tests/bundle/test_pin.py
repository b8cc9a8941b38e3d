"""A pinned bundle: only the one that the administrator named is served."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cxrserve.bundle.contract import CONTRACT_FILE, read_contract
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import BundleError
from cxrserve.pipeline.pipeline import Pipeline
from tests.conftest import MakeSettings


def test_the_named_bundle_is_served_and_no_other(
    make_settings: MakeSettings, tiny_bundle: Path, tmp_path: Path
) -> None:
    _, sha256 = read_contract(tiny_bundle)
    Predictor.open(make_settings(bundle_sha256=sha256.upper()))
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    contract = other / CONTRACT_FILE
    contract.write_text(contract.read_text() + "\n")  # sound in itself, and another
    Predictor.open(make_settings(bundle=other))
    settings = make_settings(bundle=other, bundle_sha256=sha256)
    with pytest.raises(BundleError, match="CXRSERVE_BUNDLE_SHA256"):
        Predictor.open(settings)
    with pytest.raises(BundleError, match="CXRSERVE_BUNDLE_SHA256"):
        Pipeline(settings)
