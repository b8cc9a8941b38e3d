"""Peers: the parties that results are sent to and that studies are fetched from, as the rules name them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from cxrserve.archive.tls_files import TlsFiles
from cxrserve.schema import Strict

ReportClass = Literal["comprehensive-3d", "comprehensive", "enhanced"]

_AE_TITLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_REPORT_CLASS: Final = (
    "SOP class of the structured report: comprehensive-3d, comprehensive or enhanced; null: "
)


class DimsePeer(Strict):
    """A destination that takes C-STORE."""

    protocol: Literal["dimse"]
    ae_title: str = Field(description="The peer's AE title.")
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsFiles | None = None
    timeout_s: float = Field(30.0, gt=0, description="Time each step of an association may take.")
    report_class: ReportClass | None = Field(
        None, description=_REPORT_CLASS + "the first of these that the peer accepts."
    )

    @field_validator("ae_title")
    @classmethod
    def _is_ae_title(cls, value: str) -> str:
        if not _AE_TITLE.fullmatch(value):
            raise ValueError("an AE title has 1 to 16 ASCII characters, no backslash (PS3.5 6.2)")
        return value


class WebService(Strict):
    """A DICOMweb service, and how to get in."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/[^\s]*)?$", description="Base of the DICOMweb service.")
    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's.")
    token_file: Path | None = Field(None, description="File with a bearer token.")
    username: str | None = None
    password_file: Path | None = Field(None, description="File with the password of `username`.")
    timeout_s: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")
        if self.token_file is not None and self.username is not None:
            raise ValueError("token_file or username, not both")
        return self


class WebPeer(WebService):
    """A destination that takes STOW-RS."""

    protocol: Literal["stow"]
    report_class: ReportClass | None = Field(None, description=_REPORT_CLASS + "comprehensive-3d.")


class Hl7Peer(Strict):
    """A destination that takes HL7 v2 result messages (ORU^R01) over MLLP."""

    protocol: Literal["hl7"]
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsFiles | None = None
    timeout_s: float = Field(30.0, gt=0, description="Time to connect, and to acknowledge a message.")
    receiving_application: str = Field("", max_length=180, description="MSH-5.")
    receiving_facility: str = Field("", max_length=180, description="MSH-6.")
    sending_application: str = Field("CXRSERVE", min_length=1, max_length=180, description="MSH-3.")
    sending_facility: str = Field("", max_length=180, description="MSH-4.")
    processing_id: Literal["P", "T", "D"] = Field("P", description="MSH-11: production, training, debugging.")
    character_set: Literal["UNICODE UTF-8", "8859/1"] = Field(
        "UNICODE UTF-8", description="MSH-18. Characters that 8859/1 lacks are sent as a question mark."
    )


class FhirPeer(WebService):
    """A destination that takes FHIR R4 DiagnosticReports, by an update on the report's identifier."""

    protocol: Literal["fhir"]


class PullServer(WebService):
    """A PACS that studies are fetched from, by QIDO-RS and WADO-RS."""

    modalities: tuple[str, ...] = Field(("CR", "DX"), min_length=1, description="Of the images to fetch.")
    every_s: float | None = Field(
        None, ge=10, description="How often to look for new images; null: only when asked for a study."
    )
    days: int = Field(1, ge=0, le=3650, description="How many days before today a study's date may lie.")


class WorkitemCode(Strict):
    """A code of Scheduled Workitem Code Sequence."""

    value: str = Field(min_length=1, max_length=64, description="Code Value.")
    scheme: str = Field(min_length=1, max_length=16, description="Coding Scheme Designator.")


class WorklistPeer(WebService):
    """A worklist manager whose workitems this station performs, by UPS-RS (PS3.18 11)."""

    code: WorkitemCode | None = Field(None, description="Take workitems with this code.")
    label: str | None = Field(None, min_length=1, max_length=64, description="Take those of this list.")
    station: str | None = Field(
        None, min_length=1, max_length=64, description="Code of this station; null: its AE title."
    )
    images: str = Field(description="One of `servers`, which has the images.")
    every_s: float = Field(10.0, ge=1, description="How often to ask for workitems.")
    at_once: int = Field(4, ge=1, le=1000, description="Workitems to hold at a time; others may do the rest.")
    images_within_s: float = Field(
        3600.0, ge=0, description="Images that `images` does not give this long end the workitem as canceled."
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if self.code is None and self.label is None:
            raise ValueError("a worklist needs `code` or `label`, by which this station knows its workitems")
        return self


Peer = Annotated[DimsePeer | WebPeer | Hl7Peer | FhirPeer, Field(discriminator="protocol")]
