"""Where results go: what a destination is to the archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cxrserve.errors import CxrserveError


class DeliveryError(CxrserveError):
    """A destination did not take the results.

    Attributes:
        retryable: True where another try may succeed (nobody answers, out of resources); False where it
            never will (the peer refuses the kind of object): the delivery is then a dead letter at once.
    """

    http_status = 502
    slug = "not-delivered"
    title = "The results could not be delivered"

    def __init__(self, detail: str, *, retryable: bool) -> None:
        super().__init__(detail)
        self.retryable = retryable


class Destination(Protocol):
    """Something that takes DICOM objects: a C-STORE or a STOW-RS peer."""

    def send(self, objects: Sequence[Path]) -> None:
        """Send the Part 10 files `objects`, all or none as far as the caller can tell.

        It may be called again with objects that arrived before: their UIDs and bytes are the same. It may be
        called from several threads at once.

        Raises:
            DeliveryError: the peer did not take all of them; without patient data.
        """
        ...


class Puller(Protocol):
    """Fetches a study from a PACS into the archive."""

    def __call__(self, study_instance_uid: str) -> int:
        """The number of objects that arrived.

        Raises:
            DeliveryError: the PACS did not give them.
        """
        ...
