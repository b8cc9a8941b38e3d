"""Access tokens of a real identity provider (RFC 9068) at a real service: what they allow."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cxrserve.api.app import create_app
from cxrserve.audit.trail import open_trail
from cxrserve.errors import ConfigurationError, Unauthorized
from cxrserve.identity.clients import Client
from cxrserve.identity.oidc_config import load_oidc
from cxrserve.identity.provider import Provider
from cxrserve.identity.tokens import TokenValidator
from tests.api.conftest import check_problem
from tests.conftest import MakeSettings, Serve
from tests.identity.provider import AUDIENCE, IdentityProvider, SigningKey, identity_provider
from tests.servers import Running
from tests.waiting import until

MIN_REFETCH_S = 0.5


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as running:
        yield running


def write_config(folder: Path, issuer: str, extra: str = "", *, head: str = "") -> Path:
    path = folder / "oidc.toml"
    path.write_text(
        f'issuer = "{issuer}"\naudience = "{AUDIENCE}"\nkeys_min_refetch_s = {MIN_REFETCH_S}\nleeway_s = 0\n'
        f"{head}\n[roles]\nradiologist = ['predict', 'read']\ngateway = ['store']\n"
        f"pacs-admin = ['admin']\n{extra}"
    )
    return path


@pytest.fixture(scope="module")
def guarded(
    serve: Serve, provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("oidc")
    with serve(oidc=write_config(folder, provider.issuer), audit=f"file:{folder / 'audit.jsonl'}") as running:
        yield running


def get(running: Running, token: str, path: str = "/metrics") -> httpx.Response:
    return httpx.get(running.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def claims(provider: IdentityProvider, **changes: Any) -> dict[str, Any]:
    """Those of a good token, changed; None removes a claim."""
    now = int(time.time())
    usual = {
        "iss": provider.issuer,
        "aud": AUDIENCE,
        "sub": "boss",
        "client_id": "boss",
        "jti": "1",
        "iat": now,
        "exp": now + 600,
        "roles": ["pacs-admin"],
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("client", "path", "status"),
    [
        ("boss", "/metrics", 200),
        ("radiologist", "/metrics", 403),
        ("radiologist", "/model", 200),
        ("gateway", "/metrics", 403),
        ("nobody", "/metrics", 403),
    ],
)
def test_roles_become_scopes(
    guarded: Running, provider: IdentityProvider, client: str, path: str, status: int
) -> None:
    answer = get(guarded, provider.token(client), path)
    assert answer.status_code == status
    if status == 403:
        check_problem(answer, 403, "scope-missing")


def test_a_role_may_predict_and_another_may_not(
    guarded: Running, provider: IdentityProvider, chest_jpeg: bytes
) -> None:
    for client, status in (("radiologist", 200), ("gateway", 403)):
        headers = {"Authorization": f"Bearer {provider.token(client)}"}
        answer = httpx.post(f"{guarded.url}/predict", content=chest_jpeg, headers=headers, timeout=60)
        assert answer.status_code == status


def test_a_token_for_another_service_is_refused(guarded: Running, provider: IdentityProvider) -> None:
    detail = check_problem(get(guarded, provider.token("boss", "urn:other")), 401, "unauthorized")
    assert "another audience" in detail


@pytest.fixture(scope="module")
def validator(provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> TokenValidator:
    """The service's own validator, without the service: it slows down addresses that guess."""
    config = load_oidc(write_config(tmp_path_factory.mktemp("validator"), provider.issuer))
    return TokenValidator(config, Provider(config))


def test_an_expired_token_is_refused(provider: IdentityProvider, tmp_path: Path) -> None:
    """The provider's own token for one second."""
    path = write_config(tmp_path, provider.issuer)
    path.write_text(path.read_text().replace(AUDIENCE, "urn:expired"))
    config = load_oidc(path)
    token = provider.token("boss", "urn:expired")
    until = jwt.decode(token, options={"verify_signature": False})["exp"]
    while time.time() <= until + 0.1:
        time.sleep(0.05)
    with pytest.raises(Unauthorized, match="expired"):
        TokenValidator(config, Provider(config)).access(token)


def _encoded(*parts: dict[str, Any]) -> list[str]:
    return [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]


def unsigned(provider: IdentityProvider) -> str:
    return ".".join([*_encoded({"alg": "none", "typ": "at+jwt", "kid": "first"}, claims(provider)), ""])


def confused(provider: IdentityProvider) -> str:
    """The provider's public key, which everybody knows, as the secret of an HMAC."""
    public = provider.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = ".".join(_encoded({"alg": "HS256", "typ": "at+jwt", "kid": "first"}, claims(provider)))
    mac = hmac.digest(public, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("changes", "headers", "reason"),
    [
        ({}, {}, None),
        ({"iss": "http://127.0.0.1:1"}, {}, "another issuer"),
        ({"aud": ["urn:other"]}, {}, "another audience"),
        ({"aud": ["urn:other", AUDIENCE]}, {}, None),
        ({"exp": 1}, {}, "expired"),
        ({"exp": None}, {}, "a claim is missing"),
        ({"sub": None}, {}, "a claim is missing"),
        ({"jti": None}, {}, "a claim is missing"),
        ({"client_id": None}, {}, "a claim is missing"),
        ({"iat": 32_503_680_000}, {}, "not valid yet"),
        ({"nbf": 32_503_680_000}, {}, "not valid yet"),
        ({"nonce": "n"}, {}, "an ID token"),
        ({}, {"typ": "JWT"}, "its type"),
        ({}, {"typ": "application/at+jwt"}, None),
        ({}, {"alg": "RS512"}, "algorithm"),
        ({}, {"alg": "PS256"}, "key is unknown"),  # the key is for RS256 alone
        ({}, {"kid": "nothing"}, "key is unknown"),
        ({}, {"crit": ["exp"]}, "no signed JWT"),
    ],
)
def test_each_claim_is_checked(
    validator: TokenValidator,
    provider: IdentityProvider,
    changes: dict[str, Any],
    headers: dict[str, Any],
    reason: str | None,
) -> None:
    """Signed with the provider's own key, so that nothing else is wrong."""
    token = provider.key.sign(claims(provider, **changes), **headers)
    if reason is None:
        assert validator.access(token) == Client(name="boss", scopes=frozenset({"admin"}))
    else:
        with pytest.raises(Unauthorized, match=reason):
            validator.access(token)


def test_forged_tokens_are_refused(validator: TokenValidator, provider: IdentityProvider) -> None:
    good = provider.key.sign(claims(provider))
    head, _, signature = good.split(".")
    (other,) = _encoded(claims(provider, sub="root"))
    assert _accepts(validator, good)
    assert _accepts(validator, provider.elliptic.sign(claims(provider)))
    for token in (
        unsigned(provider),
        confused(provider),
        SigningKey("first").sign(claims(provider)),
        f"{head}.{other}.{signature}",
        good[:-8],
        "ey",
        "ey.ey.ey",
    ):
        with pytest.raises(Unauthorized):
            validator.access(token)


def test_unknown_keys_are_asked_for_at_a_bounded_rate(
    validator: TokenValidator, provider: IdentityProvider
) -> None:
    stranger = SigningKey("stranger", "EC")
    assert _accepts(validator, provider.key.sign(claims(provider)))
    tokens = [stranger.sign(claims(provider), kid=f"guess-{number}", alg="ES256") for number in range(200)]

    def refused(token: str) -> bool:
        with pytest.raises(Unauthorized, match="unknown"):
            validator.access(token)
        return True

    before, started = provider.count("/jwks"), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, tokens))
    assert provider.count("/jwks") - before <= 1 + (time.monotonic() - started) / MIN_REFETCH_S


def test_the_audit_trail_names_the_subject(
    serve: Serve, provider: IdentityProvider, tmp_path: Path, chest_jpeg: bytes
) -> None:
    path, file = write_config(tmp_path, provider.issuer), tmp_path / "audit.jsonl"
    with (
        serve(oidc=path, audit=f"file:{file}") as running,
        open_trail(running.server.service.settings),
    ):
        headers = {"Authorization": f"Bearer {provider.token('radiologist')}"}
        httpx.post(f"{running.url}/predict", content=chest_jpeg, headers=headers, timeout=60)
        get(running, provider.token("boss", "urn:other"))
        until(lambda: len(file.read_text().splitlines()) == 3, 60)
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(event["action"], event["outcome"]) for event in events] == [
        ("start", "success"),
        ("predict", "success"),
        ("login", "failure"),
        ("stop", "success"),
    ]
    assert events[1]["user"] == "radiologist"


def test_new_keys_and_an_outage(tmp_path: Path) -> None:
    """The provider changes its keys: its new tokens work soon, without a restart. An outage ends nothing."""
    with identity_provider() as provider:
        config = load_oidc(write_config(tmp_path, provider.issuer))
        validator = TokenValidator(config, Provider(config))
        old = provider.token("boss")
        assert _accepts(validator, old)
        provider.stop()
        assert _accepts(validator, old)  # by the cached key
        time.sleep(MIN_REFETCH_S)
        with pytest.raises(Unauthorized, match="unknown"):
            validator.access(SigningKey("x").sign(claims(provider)))
        assert _accepts(validator, old)
        provider.key = SigningKey("second")
        provider.start()
        new = provider.token("boss")
        until(lambda: _accepts(validator, new), 120)
        assert not _accepts(validator, old)  # its key was withdrawn


def _accepts(validator: TokenValidator, token: str) -> bool:
    try:
        validator.access(token)
    except Unauthorized:
        return False
    return True


def test_without_any_key_the_service_says_so(serve: Serve, tmp_path: Path) -> None:
    with serve(oidc=write_config(tmp_path, "http://127.0.0.1:9")) as running:
        token = SigningKey("x").sign({"iss": "x"})
        check_problem(get(running, token), 503, "identity-provider-unavailable")
        check_problem(get(running, "a-token-0123456789abcdef"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("issuer", "head", "extra", "message"),
    [
        ("http://id.example", "", "", "issuer"),
        ("https://id.example", 'algorithms = ["HS256"]', "", "algorithms"),
        ("https://id.example", 'algorithms = ["none"]', "", "algorithms"),
        ("https://id.example", "", "x = ['everything']", "roles.x"),
        ("https://id.example", "unknown = 1", "", "unknown"),
        ("https://id.example", 'ca_file = "/nothing.pem"', "", "cannot be used"),
        (
            "https://id.example",
            "",
            '[login]\nclient_id = "a"\nredirect_uri = "https://a/x"',
            "/login/callback",
        ),
        (
            "https://id.example",
            "",
            '[login]\nclient_id = "a"\nredirect_uri = "https://a/login/callback"\nclient_secret_file = "/no"',
            "cannot be read",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used(
    make_settings: MakeSettings, tmp_path: Path, issuer: str, head: str, extra: str, message: str
) -> None:
    settings = make_settings(oidc=write_config(tmp_path, issuer, extra, head=head))
    with pytest.raises(ConfigurationError, match=message):
        create_app(settings)
