"""An event that the upper layer's state machine cannot take ends the association with one line."""

from __future__ import annotations

import logging
import socket
from functools import partial

import pytest
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from cxrserve.pacs.association_server import _do_action


def test_an_event_that_is_out_of_order_is_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Evt7 in Sta13: the peer has left while its request was being answered."""
    association = Association(ApplicationEntity(), "acceptor")
    machine = association.dul.state_machine
    machine.current_state = "Sta13"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        association.dul.socket = AssociationSocket(association, client_socket=ours)
        act = partial(_do_action, association, machine.do_action)
        with caplog.at_level(logging.WARNING, "cxrserve.pacs"):
            act("Evt7")
        assert "association ended: Invalid event 'Evt7' for the current state 'Sta13'" in caplog.text
        assert theirs.recv(1) == b""  # the connection is closed
    assert association.dul._kill_thread
