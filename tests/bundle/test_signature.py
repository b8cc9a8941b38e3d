"""Signed bundles: with a key set, nothing is served that this key has not signed, to the last byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from cxrserve.bundle.contract import CONTRACT_FILE, read_contract
from cxrserve.bundle.signature import SIGNATURE_FILE, sign_bundle, verify_signature
from cxrserve.cli.main import app
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import BundleError, ConfigurationError
from cxrserve.pipeline.pipeline import Pipeline
from tests.conftest import MakeSettings


def write_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key as openssl writes them."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, "author")


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path, pair: tuple[Path, Path]) -> Path:
    """A signed copy of the tiny bundle, with a report and a folder beside the model."""
    folder = tmp_path / "signed"
    shutil.copytree(tiny_bundle, folder)
    (folder / "report.html").write_text("<p>sound</p>")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "one.png").write_bytes(b"png")
    sign_bundle(folder, pair[0])
    return folder


def test_a_signed_bundle_is_served(
    make_settings: MakeSettings, signed: Path, pair: tuple[Path, Path]
) -> None:
    assert verify_signature(signed, pair[1]) == read_contract(signed)[1]
    Predictor.open(make_settings(bundle=signed, bundle_key=pair[1]))


def test_an_unsigned_bundle_is_refused_at_the_start(
    make_settings: MakeSettings, tiny_bundle: Path, pair: tuple[Path, Path]
) -> None:
    settings = make_settings(bundle=tiny_bundle, bundle_key=pair[1])
    with pytest.raises(BundleError, match="is not signed"):
        Predictor.open(settings)
    with pytest.raises(BundleError, match="is not signed"):
        Pipeline(settings)


def test_a_bundle_that_another_key_has_signed_is_refused(
    make_settings: MakeSettings, signed: Path, tmp_path: Path
) -> None:
    _, other = write_pair(tmp_path, "other")
    with pytest.raises(BundleError, match="not by the key"):
        Predictor.open(make_settings(bundle=signed, bundle_key=other))


def test_one_byte_changed_in_any_file_is_refused(signed: Path, pair: tuple[Path, Path]) -> None:
    files = [path for path in signed.rglob("*") if path.is_file() and path.name != SIGNATURE_FILE]
    assert len(files) >= 4
    for path in files:
        sound = path.read_bytes()
        for at in (0, len(sound) // 2, len(sound) - 1):
            changed = bytearray(sound)
            changed[at] ^= 1
            path.write_bytes(changed)
            with pytest.raises(BundleError, match=path.name):
                verify_signature(signed, pair[1])
        path.write_bytes(sound)
    verify_signature(signed, pair[1])


def test_a_file_that_is_added_or_taken_away_is_refused(signed: Path, pair: tuple[Path, Path]) -> None:
    added = signed / "weights.bin"
    added.write_bytes(b"x")
    with pytest.raises(BundleError, match=r"taken away: weights\.bin"):
        verify_signature(signed, pair[1])
    added.unlink()
    (signed / "report.html").unlink()
    with pytest.raises(BundleError, match=r"taken away: report\.html"):
        verify_signature(signed, pair[1])


def test_a_link_out_of_the_folder_is_refused(signed: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = signed / "report.html"
    report.rename(tmp_path / "report.html")
    report.symlink_to(tmp_path / "report.html")
    with pytest.raises(BundleError, match="no regular file"):
        verify_signature(signed, pair[1])


def test_every_part_of_the_signature_counts(signed: Path, pair: tuple[Path, Path]) -> None:
    path = signed / SIGNATURE_FILE
    sound = json.loads(path.read_text())
    hashes = dict(sound["files"], **{CONTRACT_FILE: "0" * 64})
    for change in ({"files": hashes}, {"signature": "AAAA"}, {"signature": "?"}, {"format": 2}, {"more": 1}):
        path.write_text(json.dumps(sound | change))
        with pytest.raises(BundleError):
            verify_signature(signed, pair[1])
    path.write_text("no JSON")
    with pytest.raises(BundleError, match="not a signature"):
        verify_signature(signed, pair[1])


def test_keys_that_are_none_are_refused(signed: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    elliptic = tmp_path / "p256.pub"
    elliptic.write_bytes(
        generate_private_key(SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for key in (elliptic, pair[0], tmp_path / "missing", signed / CONTRACT_FILE):
        with pytest.raises(ConfigurationError):
            verify_signature(signed, key)
    with pytest.raises(ConfigurationError, match="no key in PEM"):
        sign_bundle(signed, pair[1])
    with pytest.raises(BundleError, match="has no"):
        sign_bundle(tmp_path / "missing", pair[0])


def test_the_commands(tiny_bundle: Path, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    unsigned = CliRunner().invoke(app, ["models", "verify", str(folder), "--key", str(pair[1])])
    assert isinstance(unsigned.exception, BundleError)
    assert CliRunner().invoke(app, ["models", "sign", str(folder), "--key", str(pair[0])]).exit_code == 0
    sound = CliRunner().invoke(app, ["models", "verify", str(folder), "--key", str(pair[1])])
    assert sound.exit_code == 0, sound.output
    assert "sound" in sound.output
