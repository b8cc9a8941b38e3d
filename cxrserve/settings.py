"""Settings of the service, read once at start from CXRSERVE_* and flags. Units are in the names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cxrserve.cores import usable_cores, usual_decoders

EngineName = Literal["auto", "openvino", "onnxruntime", "tensorrt", "torch"]
Precision = Literal["auto", "f32", "bf16", "fp16", "int8"]
_MIN_TOKEN_CHARACTERS: Final = 16
_ORIGIN: Final = r"https?://[0-9A-Za-z.\-\[\]:]{1,253}"
FilmCheckMode = Literal["refuse", "warn", "off"]
FilmCorrection = Literal["none", "turn", "invert", "both"]


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """CXRSERVE_* variables that are not settings, such as misspelt ones."""
    known = {f"CXRSERVE_{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name for name in environment if name.upper().startswith("CXRSERVE_") and name.upper() not in known
    )


class Settings(BaseSettings):
    """All settings. Each field is the environment variable CXRSERVE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="CXRSERVE_", frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("token", "database_url"):
            path = values.get(f"{name}_file")
            if path is None:
                continue
            if values.get(name):
                raise ValueError(f"{name} and {name}_file are both set; set one")
            try:
                values = {**values, name: Path(str(path)).read_text("utf-8").strip()}
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{name}_file cannot be read: {type(error).__name__}") from None
            if not values[name]:
                raise ValueError(f"{name}_file is empty")
        return values

    @field_validator("token")
    @classmethod
    def _token_is_long(cls, token: SecretStr) -> SecretStr:
        if 0 < len(token.get_secret_value()) < _MIN_TOKEN_CHARACTERS:
            raise ValueError(
                f"a token needs at least {_MIN_TOKEN_CHARACTERS} characters, for example those of "
                "`openssl rand -hex 32`"
            )
        return token

    bundle: Path = Field(Path("models/demo"), description="Folder of the model bundle to serve.")
    bundle_sha256: str = Field(
        "",
        pattern=r"^([0-9A-Fa-f]{64})?$",
        description="SHA-256 of bundle.json; with it, no other bundle is served.",
    )
    bundle_key: Path | None = Field(
        None,
        description="PEM file of the Ed25519 public key; with it, only a bundle that this key has signed is "
        "served.",
    )
    host: str = Field(
        "127.0.0.1", description="Address to listen on. Any other than loopback can be reached from outside."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")

    engine: EngineName = Field(
        "auto",
        description="Inference engine; auto selects TensorRT, ONNX Runtime or torch on a GPU, else "
        "OpenVINO, ONNX Runtime.",
    )
    precision: Precision = Field(
        "auto",
        description="Arithmetic; auto selects int8, fp16 and bf16 if the bundle's gate admits them, "
        "else f32.",
    )
    threads: int = Field(
        default_factory=usable_cores,
        ge=1,
        description="Threads of the engine; by default the cores this process may use.",
    )
    streams: int = Field(
        1,
        ge=1,
        description="Images that an engine on a CPU computes in parallel, each with its share of the "
        "threads.",
    )

    max_upload_bytes: int = Field(
        128 * 2**20,
        ge=1,
        description="Maximum size of an upload, one file or a whole study; a larger one gets 413.",
    )
    max_study_files: int = Field(16, ge=1, description="Maximum number of files in one POST /predict/study.")
    max_pixels: int = Field(
        100_000_000, ge=1, description="Maximum number of pixels (rows × columns) of an image."
    )
    min_side_pixels: int = Field(64, ge=1, description="Minimum number of rows and of columns of an image.")

    decode_workers: int = Field(
        default_factory=usual_decoders,
        ge=1,
        description="Processes that decode images; by default two, or half the cores if there is a GPU.",
    )
    decode_timeout_s: float = Field(
        20.0, gt=0, description="Maximum time of a decode worker for one image; then the worker is killed."
    )
    decode_memory_bytes: int = Field(
        2 * 2**30, ge=2**28, description="Maximum memory of a decode worker beyond its memory when idle."
    )

    film_check: FilmCheckMode = Field(
        "refuse",
        description="What the bundle's film check does about a film that is certainly turned, inverted, of "
        "another view or no chest: refuse it, or analyse it with a warning; off: it does not look.",
    )
    film_check_correct: FilmCorrection = Field(
        "none",
        description="Corrections instead of a refusal: a film that is certainly turned or inverted is "
        "analysed as it would be upright, and the answer says so. A mirrored film is never corrected.",
    )

    site: Path | None = Field(
        None,
        description="Site file: the calibration, operating points and watch reference that this hospital "
        "adopted for the bundle; `cxrserve site draft` makes one.",
    )
    watch: Path | None = Field(
        None,
        description="Folder of the watch's file: counts and histograms of the films that were seen, without "
        "anything that names a patient; without it, they are lost when the process ends.",
    )

    upload_timeout_s: float = Field(
        60.0, gt=0, description="Maximum time for the headers of a request to arrive, and for its body."
    )
    min_upload_bytes_per_s: int = Field(
        65_536,
        ge=1,
        description="Minimum rate at which a body is sent or read, on average after five seconds; a slower "
        "one is ended.",
    )
    transfer_bytes: int = Field(
        2**31,
        ge=1,
        description="Maximum memory of all uploads and displayed images together, and half of it for one "
        "address; one always fits.",
    )
    max_stores: int = Field(
        16, ge=1, description="Maximum number of STOW-RS requests at once, and half of it for one address."
    )
    request_timeout_s: float = Field(
        60.0, gt=0, description="Maximum time from a complete upload to its result; then 504."
    )
    max_connections_per_address: int = Field(
        64,
        ge=1,
        description="Maximum number of open HTTP connections of one address; then its oldest idle one is "
        "closed.",
    )
    max_waiting: int = Field(
        16,
        ge=0,
        description="Requests held in memory besides the one that is computed; more get 503 at once.",
    )
    max_wait_s: float = Field(
        10.0,
        gt=0,
        description="Maximum expected wait of a request for the engines; otherwise 503 at once. Does "
        "not limit the archive.",
    )
    batch_pixels: int = Field(
        2**24,
        ge=1,
        description="Maximum number of pixels of one batch, if the engine is faster with batches; a "
        "larger image runs alone.",
    )
    batch_delay_s: float = Field(
        0.005, gt=0, description="Maximum time that a batch waits for images being decoded; none when idle."
    )
    stat_lead_s: float = Field(
        30.0,
        gt=0,
        description="A stat image overtakes routine images that came less than this time before it.",
    )
    shutdown_timeout_s: int = Field(
        30, ge=1, description="Maximum time for accepted requests to finish at shutdown."
    )

    archive: Path | None = Field(
        None, description="Folder for received objects and results; without it, nothing is stored."
    )
    rules: Path | None = Field(
        None,
        description="YAML file of the rules for received objects; without it, built-in rules, and "
        "nothing is sent.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL URL, for several nodes on one archive folder; without it, SQLite in "
        "the archive.",
    )
    node_name: str = Field(
        "",
        max_length=64,
        description="Name of this node, the same at every start; the default with PostgreSQL is the "
        "host name.",
    )
    archive_max_bytes: int = Field(
        2**40, ge=1, description="Maximum size of all received objects; more are refused as out of resources."
    )
    archive_min_free_bytes: int = Field(
        2**30, ge=1, description="Minimum free space on the archive's disk; with less, objects are refused."
    )
    database_timeout_s: float = Field(
        20.0, gt=0, description="Maximum time to wait for the database; then an object is refused."
    )
    study_workers: int = Field(2, ge=1, description="Studies processed in parallel.")
    delivery_workers: int = Field(4, ge=1, description="Deliveries to destinations in parallel.")
    delivery_give_up_s: float = Field(
        604_800.0, gt=0, description="Time after which a delivery that keeps failing becomes a dead letter."
    )
    delivery_max_pause_s: float = Field(
        300.0, gt=0, description="Maximum pause between two attempts of a delivery."
    )
    token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token that all requests but probes and pages must carry, of at least 16 "
        "characters; without it and without `clients`, no token is needed.",
    )
    token_file: Path | None = Field(None, description="File that holds the token, instead of the variable.")
    database_url_file: Path | None = Field(
        None, description="File that holds the PostgreSQL URL, instead of the variable."
    )
    clients: Path | None = Field(
        None, description="TOML file of named clients: for each the SHA-256 of its token, and its scopes."
    )
    oidc: Path | None = Field(
        None,
        description="TOML file of single sign-on: the identity provider, its roles, and the viewer's "
        "sign-in.",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate and chain for HTTP; with it, the service speaks HTTPS."
    )
    tls_key: Path | None = Field(None, description="PEM file of that certificate's key.")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that must have signed the certificates of HTTP clients.",
    )
    tls_client_crl: Path | None = Field(
        None,
        description="PEM file of those authorities' revocation lists; a revoked HTTP client is refused.",
    )
    behind_proxy: str = Field(
        "",
        description="Addresses or networks of the reverse proxies, separated by commas; their "
        "X-Forwarded-For is believed.",
    )
    insecure_http: bool = Field(
        False,
        description="Allow plain HTTP beyond this machine without a named proxy: inside a container's "
        "private network.",
    )

    dicom_ae_title: str = Field(
        "CXRSERVE",
        pattern=r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$",
        description="AE title of the DICOM node; associations that call another title are rejected.",
    )
    dicom_port: int = Field(
        11112, ge=0, le=65535, description="TCP port of the DICOM node, on `host`; 0 takes a free one."
    )
    dicom_max_associations: int = Field(16, ge=1, le=256, description="Maximum number of open associations.")
    dicom_max_associations_per_address: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Maximum number of open associations from one address; without it, half of all.",
    )
    dicom_max_pdu_bytes: int = Field(
        131_072, ge=4096, le=2**24, description="Maximum length of a P-DATA-TF PDU that the node accepts."
    )
    dicom_receive_bytes: int = Field(
        512 * 2**20,
        ge=1,
        description="Maximum size of all objects being received; one object always fits, more get 0xA700.",
    )
    dicom_accept_timeout_s: float = Field(
        10.0, gt=0, description="Maximum time for a TLS handshake and the A-ASSOCIATE-RQ (the ARTIM timer)."
    )
    dicom_idle_timeout_s: float = Field(
        60.0, gt=0, description="Maximum time an association may be idle, or a PDU may take to arrive."
    )
    dicom_tls_certificate: Path | None = Field(
        None, description="PEM file of the node's certificate and chain; with it, the node accepts TLS only."
    )
    dicom_tls_key: Path | None = Field(None, description="PEM file of the certificate's key.")
    dicom_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities that must have signed the client certificates."
    )
    dicom_tls_crl: Path | None = Field(
        None,
        description="PEM file of those authorities' revocation lists; a revoked certificate is refused.",
    )

    audit: str = Field(
        "",
        description="Audit trail: file:/PATH for JSON lines, syslog-tls://HOST:PORT for DICOM messages, or "
        "both, separated by a comma; without it, there is none.",
    )
    audit_spool: Path | None = Field(
        None,
        description="Folder of messages that the syslog server has not taken yet; by default in the archive.",
    )
    audit_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities that the syslog server's certificate must come from."
    )
    audit_tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate shown to the syslog server."
    )
    audit_tls_key: Path | None = Field(None, description="PEM file of that certificate's key.")

    cors_origins: str = Field(
        "",
        pattern=rf"^({_ORIGIN}(,{_ORIGIN})*)?$",
        description="Origins of web pages on other hosts that may use the HTTP API, such as "
        "https://viewer.example.org, separated by commas; without it, none may.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level of log messages."
    )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(self.cors_origins.lower().split(",")) if self.cors_origins else ()
