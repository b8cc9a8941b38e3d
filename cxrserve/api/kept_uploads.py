"""Files that were received for display and are held for a minute, for a prediction that follows.

They are held in memory alone, within the budget of all transfers, and give way to every other body. The name
of one is a secret of the client that sent it, and of no use to another client or from another address.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

from cxrserve.api.request_log import RequestRecord
from cxrserve.api.transfers import Memory
from cxrserve.errors import Overloaded, UploadGone

_NAME_BYTES: Final = 16
LIFETIME_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Upload:
    data: bytes
    address: str
    client: str
    expiry: asyncio.TimerHandle


class KeptUploads:
    """The uploads that are held, oldest first. Used on the event loop alone.

    Args:
        memory: the budget; while it is short, the oldest uploads go first.
        lifetime_s: how long an upload is held.
    """

    def __init__(self, memory: Memory, *, lifetime_s: float = LIFETIME_S) -> None:
        self._memory: Final = memory
        self._lifetime_s: Final = lifetime_s
        self._uploads: Final[dict[str, _Upload]] = {}
        memory.spare = self._drop_oldest

    def __len__(self) -> int:
        return len(self._uploads)

    def keep(self, record: RequestRecord, data: bytes) -> str | None:
        """Hold the file of a request, for the same client at the same address.

        Returns:
            its name; None where there is no memory for it.
        """
        try:
            self._memory.change(record.address, 0, len(data))
        except Overloaded:
            return None
        name = secrets.token_urlsafe(_NAME_BYTES)
        self._uploads[name] = _Upload(
            data=data,
            address=record.address,
            client=record.client,
            expiry=asyncio.get_running_loop().call_later(self._lifetime_s, self._drop, name),
        )
        return name

    def take(self, record: RequestRecord, name: str) -> bytes:
        """The file of that name; it is not held any longer.

        Raises:
            UploadGone: there is none of this client at this address.
        """
        upload = self._uploads.get(name)
        if upload is None or (upload.address, upload.client) != (record.address, record.client):
            raise UploadGone(
                "`upload` names no file of yours that is held: a file is held for one request and at most "
                f"{self._lifetime_s:g} s. Send the file in this request."
            )
        self._drop(name)
        return upload.data

    def _drop(self, name: str) -> None:
        upload = self._uploads.pop(name)
        upload.expiry.cancel()
        self._memory.change(upload.address, len(upload.data), 0)

    def _drop_oldest(self) -> bool:
        if not self._uploads:
            return False
        self._drop(next(iter(self._uploads)))
        return True

    def close(self) -> None:
        """Hold nothing any longer."""
        while self._drop_oldest():
            pass
