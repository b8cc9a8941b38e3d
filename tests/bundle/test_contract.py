"""Tests of the contract: a bundle that contradicts it is refused, with both values in the message."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrserve.bundle.contract import load_bundle, read_contract
from cxrserve.errors import BundleError
from cxrserve.findings import NAMES
from tests.bundles import write_tiny_bundle

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", sizes=(64, 128))


def _rewrite(bundle: Path, change: Change) -> None:
    path = bundle / "bundle.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    change(contract)
    path.write_text(json.dumps(contract), encoding="utf-8")


def test_a_sound_bundle_loads(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert sorted(loaded.models) == [64, 128]
    assert loaded.sha256 == read_contract(bundle)[1]


def test_one_flipped_bit_is_refused_showing_both_hashes(bundle: Path) -> None:
    member = load_bundle(bundle).contract.members[0]
    path = bundle / member.file
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(BundleError, match=rf"SHA-256 [0-9a-f]{{64}}, the contract says {member.sha256}"):
        load_bundle(bundle)


def _swap_findings(contract: dict[str, Any]) -> None:
    contract["findings"][0], contract["findings"][1] = contract["findings"][1], contract["findings"][0]


def _drop_threshold(contract: dict[str, Any]) -> None:
    del contract["operating_points"]["Edema"]


def _heavy_row(contract: dict[str, Any]) -> None:
    contract["stack"][3] = [0.9, 0.9]


def _negative_weight(contract: dict[str, Any]) -> None:
    contract["stack"][3] = [1.5, -0.5]


def _other_sizes(contract: dict[str, Any]) -> None:
    contract["preprocessing"]["sizes"] = [64, 256]


def _unknown_field(contract: dict[str, Any]) -> None:
    contract["temperature"] = 2


def _file_outside(contract: dict[str, Any]) -> None:
    contract["members"][0]["file"] = "../scale_64.onnx"


def _pickle(contract: dict[str, Any]) -> None:
    contract["members"][0]["file"] = "scale_64.pt"


@pytest.mark.parametrize(
    ("change", "both_sides"),
    [
        (
            _swap_findings,
            "the bundle has .*'Cardiomegaly', 'Atelectasis'.* needs .*'Atelectasis', 'Cardiomegaly'",
        ),
        (_drop_threshold, "findings with an operating point"),
        (_heavy_row, r"Edema are \(0.9, 0.9\)"),
        (_negative_weight, r"must be ≥ 0"),
        (_other_sizes, r"\(64, 256\).*\(64, 128\)"),
        (_unknown_field, "temperature"),
        (_file_outside, r"members\.0\.file"),
        (_pickle, r"members\.0\.file"),
    ],
)
def test_a_contract_that_does_not_hold_is_refused(bundle: Path, change: Change, both_sides: str) -> None:
    _rewrite(bundle, change)
    with pytest.raises(BundleError, match=both_sides):
        load_bundle(bundle)


def test_a_member_that_is_a_link_out_of_the_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    member = bundle / load_bundle(bundle).contract.members[0].file
    outside = member.rename(tmp_path / "outside.onnx")
    member.symlink_to(outside)
    with pytest.raises(BundleError, match="symbolic link"):
        load_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04]", b'{"format": 2}', pickle.dumps(NAMES)])
def test_a_file_that_is_no_contract_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match="not a valid contract"):
        load_bundle(bundle)


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        load_bundle(tmp_path)
