"""The files that an association of ours needs to speak TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from cxrserve.schema import Strict


class TlsFiles(Strict):
    """Files of a TLS connection, PEM."""

    ca_file: Path = Field(description="Certificates that are trusted to have signed the peer's.")
    certificate_file: Path | None = Field(None, description="Our own certificate, for peers that ask for it.")
    key_file: Path | None = Field(None, description="The key of our certificate.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self
