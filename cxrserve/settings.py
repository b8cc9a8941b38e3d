"""One frozen Settings, read once at start from CXRSERVE_* and command-line flags. Units are in the names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from cxrserve.cores import usable_cores, usual_decoders

EngineName = Literal["auto", "openvino", "onnxruntime", "tensorrt"]
Precision = Literal["auto", "f32", "bf16", "fp16", "int8"]


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """CXRSERVE_* variables that are no setting: misspelt ones would go unnoticed."""
    known = {f"CXRSERVE_{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name for name in environment if name.upper().startswith("CXRSERVE_") and name.upper() not in known
    )


class Settings(BaseSettings):
    """Everything that can be set. Each field is the environment variable CXRSERVE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="CXRSERVE_", frozen=True, extra="forbid")

    bundle: Path = Field(Path("models/demo"), description="Folder of the model bundle to serve.")
    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything else than loopback is reachable by others."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")

    engine: EngineName = Field(
        "auto",
        description="Inference engine; auto takes TensorRT or ONNX Runtime on a GPU, "
        "else OpenVINO, ONNX Runtime.",
    )
    precision: Precision = Field(
        "auto",
        description="Arithmetic; auto takes int8, fp16 and bf16 where the bundle's gate admits them, "
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
        description="Images an engine on a CPU computes side by side, each with its share of the threads.",
    )

    max_upload_bytes: int = Field(
        128 * 2**20, ge=1, description="Largest upload taken, one file or a whole study; more gets 413."
    )
    max_study_files: int = Field(16, ge=1, description="Most files in one POST /predict/study.")
    max_pixels: int = Field(
        100_000_000, ge=1, description="Most pixels (rows × columns) an image may declare."
    )
    min_side_pixels: int = Field(64, ge=1, description="Fewest rows or columns of an image that is judged.")

    decode_workers: int = Field(
        default_factory=usual_decoders,
        ge=1,
        description="Processes that decode images; by default two, or half the cores where there is a GPU.",
    )
    decode_timeout_s: float = Field(
        20.0, gt=0, description="Time a worker has for one image before it is ended."
    )
    decode_memory_bytes: int = Field(
        2 * 2**30, ge=2**28, description="Memory a decode worker may take beyond what it holds when idle."
    )

    upload_timeout_s: float = Field(
        60.0, gt=0, description="Time a request's headers and its body may each take to arrive."
    )
    request_timeout_s: float = Field(
        60.0, gt=0, description="Time from a whole upload to its reading; then 504."
    )
    max_waiting: int = Field(
        16, ge=0, description="Uploads held in memory besides the one being read; more get 503 at once."
    )
    max_wait_s: float = Field(
        10.0,
        gt=0,
        description="Longest expected wait for the engines of a request; else 503 at once. "
        "The archive just waits.",
    )
    batch_pixels: int = Field(
        2**24,
        ge=1,
        description="Most pixels of one batch, where the engine gains from one; "
        "an image larger than that runs alone.",
    )
    batch_delay_s: float = Field(
        0.005, gt=0, description="Most time a batch waits for images that are being decoded; none when idle."
    )
    stat_lead_s: float = Field(
        30.0, gt=0, description="A stat image goes before routine ones that came less than this before it."
    )
    shutdown_timeout_s: int = Field(
        30, ge=1, description="Time that accepted requests have to finish at shutdown."
    )

    archive: Path | None = Field(
        None, description="Folder in which received objects and results are kept; none: nothing is kept."
    )
    rules: Path | None = Field(
        None, description="YAML file of the rules for received objects; none: built-in ones, nothing is sent."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL URL, for several nodes on one archive folder; else SQLite in the archive.",
    )
    node_name: str = Field(
        "",
        max_length=64,
        description="Name of this node, the same at every start; by default the host's with PostgreSQL.",
    )
    archive_max_bytes: int = Field(
        2**40, ge=1, description="Most bytes of received objects; more are refused as out of resources."
    )
    archive_min_free_bytes: int = Field(
        2**30, ge=1, description="Bytes that must be free on the archive's disk; else objects are refused."
    )
    database_timeout_s: float = Field(
        20.0, gt=0, description="Time to wait for the database before an object is refused."
    )
    study_workers: int = Field(2, ge=1, description="Studies worked on at once.")
    delivery_workers: int = Field(4, ge=1, description="Deliveries to destinations at once.")
    delivery_give_up_s: float = Field(
        604_800.0, gt=0, description="Time of trying after which a delivery becomes a dead letter."
    )
    delivery_most_pause_s: float = Field(300.0, gt=0, description="Longest pause between two tries.")
    token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token asked for by everything but probes and pages; none: no one is asked.",
    )

    dicom_ae_title: str = Field(
        "CXRSERVE",
        pattern=r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$",
        description="AE title of the DICOM node; associations that call another one are rejected.",
    )
    dicom_port: int = Field(
        11112, ge=0, le=65535, description="TCP port of the DICOM node, on `host`; 0 takes a free one."
    )
    dicom_max_associations: int = Field(16, ge=1, le=256, description="Associations open at once.")
    dicom_max_pdu_bytes: int = Field(
        131_072, ge=4096, le=2**24, description="Longest P-DATA-TF PDU that the node takes."
    )
    dicom_receive_bytes: int = Field(
        512 * 2**20,
        ge=1,
        description="Bytes of objects that arrive at once; one object always fits, more get 0xA700.",
    )
    dicom_accept_timeout_s: float = Field(
        10.0, gt=0, description="Time for a TLS handshake and the A-ASSOCIATE-RQ (the ARTIM timer)."
    )
    dicom_idle_timeout_s: float = Field(
        60.0, gt=0, description="Time an association may say nothing, or a PDU may take to arrive."
    )
    dicom_tls_certificate: Path | None = Field(
        None, description="PEM file of the node's certificate and chain; with it, the node speaks TLS only."
    )
    dicom_tls_key: Path | None = Field(None, description="PEM file of the certificate's key.")
    dicom_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities whose client certificates are asked for and taken."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
