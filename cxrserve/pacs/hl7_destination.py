"""HL7 v2 sender: result messages over MLLP, with or without TLS, each acknowledged before it counts as sent.

A message that was sent and not acknowledged is sent again, byte for byte: its control ID is the same, by
which a receiver knows it.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import hl7

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import Hl7Peer
from cxrserve.pacs.tls import client_context
from cxrserve.reports.dicom.objects import Reference

# MLLP release 1: start block, end block and carriage return.
_START, _END = b"\x0b", b"\x1c\r"
_MAX_ACKNOWLEDGEMENT_BYTES: Final = 2**20
_ACCEPTED: Final = ("AA", "CA")  # table 0008
_REJECTED: Final = ("AR", "CR")  # for a reason that is not in the message, such as a receiver that is down
_ENCODINGS: Final = {"UNICODE UTF-8": "utf-8", "8859/1": "latin-1"}


def connect(peer: Hl7Peer) -> socket.socket:
    """An open connection to `peer`.

    Raises:
        DeliveryError: it cannot be reached.
        ConfigurationError: a file of TLS cannot be used.
    """
    tls = None if peer.tls is None else client_context(peer.tls)
    try:
        connection = socket.create_connection((peer.host, peer.port), peer.timeout_s)
        if tls is None:
            return connection
        try:
            return tls.wrap_socket(connection, server_hostname=peer.host)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise DeliveryError(
            f"{peer.host}:{peer.port} cannot be reached: {reason or 'no answer in time'}. Check host, port "
            "and TLS.",
            retryable=True,
        ) from error


class Hl7Destination:
    """Sends each message over a connection of its own."""

    def __init__(self, peer: Hl7Peer) -> None:
        self._peer: Final = peer
        if peer.tls is not None:
            client_context(peer.tls)  # read its files once, to refuse at the start

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """Send the files `objects`, each a message of `reports.hl7`.

        Raises:
            DeliveryError: a message was not acknowledged, or was refused.
        """
        for path in objects:
            message = hl7.parse(path.read_bytes().decode())
            self._address(message)
            answer = self._exchange(str(message).encode(_ENCODINGS[self._peer.character_set], "replace"))
            self._check(answer, str(message.segment("MSH")[10]))
        return ()

    def _address(self, message: hl7.Message) -> None:
        peer, header = self._peer, message.segment("MSH")
        names = {
            3: peer.sending_application,
            4: peer.sending_facility,
            5: peer.receiving_application,
            6: peer.receiving_facility,
            11: peer.processing_id,
            18: peer.character_set,
        }
        for position, value in names.items():
            header[position] = hl7.Field("~", [value])

    def _exchange(self, message: bytes) -> bytes:
        """Send one message and return the acknowledgement.

        Raises:
            DeliveryError: nobody answers in time.
        """
        peer = self._peer
        until = time.monotonic() + peer.timeout_s
        with closing(connect(peer)) as connection:
            try:
                connection.sendall(_START + message + _END)
                answer = b""
                while not answer.endswith(_END) and len(answer) < _MAX_ACKNOWLEDGEMENT_BYTES:
                    connection.settimeout(max(0.001, until - time.monotonic()))
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
            except OSError as error:
                raise DeliveryError(
                    f"{peer.host}:{peer.port} did not acknowledge an HL7 message within "
                    f"{peer.timeout_s:g} s, or ended the connection.",
                    retryable=True,
                ) from error
        return answer.strip(_START + _END)

    def _check(self, answer: bytes, control_id: str) -> None:
        """Pass where `answer` accepts the message.

        Raises:
            DeliveryError: it does not.
        """
        name = f"{self._peer.host}:{self._peer.port}"
        try:
            acknowledgement = hl7.parse(answer.decode("utf-8", "replace")).segment("MSA")
            code, acknowledged = str(acknowledgement[1]), str(acknowledgement[2])
        except (hl7.HL7Exception, LookupError, ValueError) as error:
            raise DeliveryError(
                f"{name} answered an HL7 message with no acknowledgement (MSA). Check the address.",
                retryable=True,
            ) from error
        if acknowledged != control_id:
            raise DeliveryError(f"{name} acknowledged another message than the one sent.", retryable=True)
        if code not in _ACCEPTED:
            known = code if code in ("AE", "CE", *_REJECTED) else "an unknown code"
            raise DeliveryError(
                f"{name} answered {known} to an HL7 message. Its log says why.", retryable=code in _REJECTED
            )
