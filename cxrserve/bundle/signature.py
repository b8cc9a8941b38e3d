"""Signature of a bundle: Ed25519 over the hashes of all its files, in `bundle.sig` beside them.

Offline, with keys that openssl makes:

    openssl genpkey -algorithm ed25519 -out private.pem
    openssl pkey -in private.pem -pubout -out public.pem

The contract names every file that is loaded by its hash, and the signature names the contract by its hash.
The other files of the folder (report, pictures) are signed too, since people trust what lies beside a model.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, ValidationError

from cxrserve.bundle.contract import CONTRACT_FILE, Bundle, check_pin
from cxrserve.errors import BundleError, ConfigurationError
from cxrserve.files import write_atomically
from cxrserve.schema import Strict
from cxrserve.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_FILE: Final = "bundle.sig"
_CONTEXT: Final = b"cxrserve bundle signature 1\n"  # so that a signature means nothing elsewhere
_MAX_SIGNATURE_BYTES: Final = 2**20


class Signature(Strict):
    """`bundle.sig`."""

    format: Literal[1] = 1
    files: dict[str, str] = Field(description="SHA-256 of every file of the folder, by its path in it.")
    key: str = Field(description="SHA-256 of the public key, for people who look for it.")
    signature: str = Field(description="Ed25519 over `files`, base64.")


def sign_bundle(folder: Path, key: Path) -> Path:
    """Sign all files of the bundle in `folder` with the private key in `key`; the path of the signature.

    Raises:
        ConfigurationError: the key cannot be used.
        BundleError: there is no bundle, or a file cannot be read.
    """
    private = _private_key(key)
    files = _hashes(folder)
    if CONTRACT_FILE not in files:
        raise BundleError(f"{folder} has no {CONTRACT_FILE}. Give the folder of a bundle.")
    signature = Signature(
        files=files,
        key=_fingerprint(private.public_key()),
        signature=base64.b64encode(private.sign(_signed_bytes(files))).decode(),
    )
    path = folder / SIGNATURE_FILE
    write_atomically(path, signature.model_dump_json(indent=1) + "\n")
    return path


def verify_signature(folder: Path, key: Path) -> str:
    """The signed SHA-256 of `bundle.json`, after every file of `folder` was compared with its signed hash.

    Args:
        key: PEM file of the public key.

    Raises:
        ConfigurationError: the key cannot be used.
        BundleError: the bundle is not signed, or by another key, or a file was changed, added or taken away.
    """
    public = _public_key(key)
    signature = _signature(folder)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(base64.b64decode(signature.signature, validate=True), _signed_bytes(signature.files))
    except (InvalidSignature, binascii.Error) as error:
        raise BundleError(
            f"the signature of {folder} is not by the key in {key}, which has the SHA-256 "
            f"{_fingerprint(public)}; it names the key {signature.key[:64]}. Take the bundle from its source "
            "again, or give the key of its author."
        ) from error
    found = _hashes(folder)
    names = sorted(found.keys() | signature.files.keys())
    if wrong := [name for name in names if found.get(name) != signature.files.get(name)]:
        raise BundleError(
            f"{folder} is not as it was signed. Changed, added or taken away: {', '.join(wrong[:8])}. Take "
            "the bundle from its source again."
        )
    return signature.files.get(CONTRACT_FILE, "")


def check_source(bundle: Bundle, settings: Settings) -> Bundle:
    """Check that the bundle is one that the administrator allows, and return it.

    Raises:
        ConfigurationError: the key cannot be used.
        BundleError: `bundle_sha256` names another one, or the key `bundle_key` has not signed it.
    """
    check_pin(bundle, settings.bundle, settings.bundle_sha256)
    if (
        settings.bundle_key is not None
        and verify_signature(settings.bundle, settings.bundle_key) != bundle.sha256
    ):
        raise BundleError(f"{settings.bundle} was changed while it was read. Start again.")
    return bundle


def _signed_bytes(files: dict[str, str]) -> bytes:
    return _CONTEXT + json.dumps(files, sort_keys=True, separators=(",", ":")).encode()


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but the signature."""
    hashes: dict[str, str] = {}
    try:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(f"{path} is no regular file. A bundle that is signed has only such files.")
            if path.is_file() and name != SIGNATURE_FILE:
                with path.open("rb") as file:
                    hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error.strerror}.") from error
    return hashes


def _signature(folder: Path) -> Signature:
    path = folder / SIGNATURE_FILE
    try:
        if path.stat().st_size > _MAX_SIGNATURE_BYTES:
            raise BundleError(f"{path} has more than {_MAX_SIGNATURE_BYTES} bytes: it is no signature.")
        return Signature.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder} is not signed: it has no {SIGNATURE_FILE}. Sign it with `cxrserve models sign`, or "
            "take a signed one."
        ) from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise BundleError(f"{path} is not a signature that this version can read.") from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _loaded(path, lambda pem: load_pem_private_key(pem, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is no private key of Ed25519. {_MAKE}")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _loaded(path, load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{path} is no public key of Ed25519. {_MAKE}")
    return key


_MAKE: Final = "Make a pair with `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`."


def _loaded(path: Path, load: Any) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key: object = load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the key {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # not PEM, another kind, or encrypted
        raise ConfigurationError(f"{path} is no key in PEM without a password. {_MAKE}") from error
    return key


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "signatures of bundles need the package cryptography. Install cxrserve[signing]."
        ) from error
