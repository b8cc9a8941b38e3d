"""An HL7 receiver that this project has not written: hl7apy's MLLP server, which parses every message."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message


@dataclass(kw_only=True)
class Receiver:
    """A receiver that runs.

    Attributes:
        messages: what has arrived, as text.
        code: the acknowledgement code to answer with.
        gate: closed, it takes messages and acknowledges none.
        control_id: the control ID to acknowledge instead of the message's own.
    """

    port: int = 0
    messages: list[str] = field(default_factory=list)
    code: str = "AA"
    gate: threading.Event = field(default_factory=threading.Event)
    control_id: str = ""


class _Handler(AbstractHandler):  # type: ignore[misc]
    def __init__(self, message: str, receiver: Receiver) -> None:
        super().__init__(message)
        self._receiver = receiver

    def reply(self) -> str:
        """The acknowledgement."""
        self._receiver.messages.append(self.incoming_message)
        self._receiver.gate.wait()
        message = parse_message(self.incoming_message, find_groups=False)
        control_id = self._receiver.control_id or message.msh.msh_10.value
        header = "MSH|^~\\&|RIS||CXRSERVE||20260101000000||ACK^R01^ACK|1|P|2.5.1"
        return f"\x0b{header}\rMSA|{self._receiver.code}|{control_id}\r\x1c\r"


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver while the block lasts, by TLS where there is a context."""
    receiver = Receiver()
    receiver.gate.set()
    with MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (_Handler, receiver)}, timeout=60) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.gate.set()
            server.shutdown()
            thread.join()
