"""An h11 connection that also refuses requests which h11 alone would accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import h11

from cxrserve.errors import CxrserveError, RequestError

Check = Callable[[h11.Request], CxrserveError | None]


class StrictConnection(h11.Connection):
    """A server connection whose requests must also pass a check.

    A request with both Content-Length and Transfer-Encoding is refused: a proxy in front may have used the
    other of the two, and then the rest of the body would be read as a second request (RFC 9112, 6.1).

    Args:
        check: returns the error that a request is refused with, or None.

    Attributes:
        refusal: the error that the last request was refused with, if it was.
    """

    def __init__(self, check: Check, *, max_header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_header_bytes)
        self._check: Final = check
        self.refusal: CxrserveError | None = None

    def next_event(self) -> Any:
        """The next event.

        Raises:
            h11.RemoteProtocolError: the input is not HTTP, or `refusal` says why the request is refused.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.refusal = _ambiguous_length(event) or self._check(event)
            if self.refusal is not None:
                raise h11.RemoteProtocolError(self.refusal.slug)
        return event


def _ambiguous_length(request: h11.Request) -> CxrserveError | None:
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        return RequestError(
            "the request has both Content-Length and Transfer-Encoding (RFC 9112, 6.1). Send one of them."
        )
    return None
