"""The parts of other libraries that are used here although they are not public: each must still exist.

An upgrade that removes one fails here with a sentence, not in a hospital with a broken association.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pynetdicom._config
import pytest
from pynetdicom import fsm
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import StateMachine
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from cxrserve import pacs

FOLDER = Path(pacs.__file__).parent
# Owner, attribute, and the file of cxrserve/pacs that uses it.
CLASS_ATTRIBUTES: list[tuple[type, str, str]] = [
    (RequestHandler, "_create_association", "association_server.py"),
    (ThreadedAssociationServer, "process_request_thread", "association_server.py"),
    (ThreadedAssociationServer, "finish_request", "association_server.py"),
    (ThreadedAssociationServer, "service_actions", "association_server.py"),
    (ThreadedAssociationServer, "active_associations", "association_server.py"),
    (Association, "set_socket", "association_server.py"),
    (DIMSEServiceProvider, "receive_primitive", "connection.py"),
    (AssociationSocket, "ready", "connection.py"),
    (AssociationSocket, "recv", "connection.py"),
    (AssociationSocket, "close", "connection.py"),
    (StateMachine, "do_action", "association_server.py"),
    (DULServiceProvider, "kill_dul", "association_server.py"),
    (ACSE, "send_reject", "node.py"),
    (Association, "kill", "node.py"),
    (Association, "rejected_contexts", "client.py"),
]
DUL_ATTRIBUTES = ["socket", "event_queue", "artim_timer", "state_machine"]
PRIVATE = {
    "_create_association",  # RequestHandler
    "_is_connected",  # AssociationSocket
    "_config",  # pynetdicom
}


@pytest.mark.parametrize(("owner", "name", "user"), CLASS_ATTRIBUTES)
def test_a_class_still_has_what_is_used_of_it(owner: type, name: str, user: str) -> None:
    assert hasattr(owner, name), (
        f"pynetdicom {pynetdicom.__version__} has no {owner.__name__}.{name}, which cxrserve/pacs/{user} uses"
    )


@pytest.fixture
def association() -> Association:
    return Association(ApplicationEntity(), "acceptor")


@pytest.mark.parametrize("name", DUL_ATTRIBUTES)
def test_the_upper_layer_still_has_what_is_used_of_it(association: Association, name: str) -> None:
    assert isinstance(association.dul, DULServiceProvider)
    assert hasattr(association.dul, name), (
        f"pynetdicom {pynetdicom.__version__} has no dul.{name}, which association_server.py and "
        "connection.py use"
    )


def test_a_socket_still_raises_one_event_and_knows_whether_it_is_connected(association: Association) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        wrapped = AssociationSocket(association, client_socket=ours)
        assert association.dul.event_queue.get_nowait() == "Evt5", "association_server.py drops this event"
        assert association.dul.event_queue.empty(), "association_server.py drops one event only"
        assert wrapped._is_connected is True, "Connection.ready reads AssociationSocket._is_connected"


def test_the_state_machine_still_answers_an_invalid_pdu_with_an_abort(association: Association) -> None:
    """`DimseProvider` raises Evt19 in Sta6; `Connection.ready` waits for Sta13."""
    assert fsm.TRANSITION_TABLE["Evt19", "Sta6"] == "AA-8", "Evt19 is an invalid PDU: PS3.8 Table 9-10"
    assert fsm.ACTIONS["AA-8"][2] == "Sta13", "Sta13 must still mean that the A-ABORT is sent"
    assert association.dul.state_machine.current_state == "Sta1"


def test_pynetdicoms_log_can_still_be_silenced() -> None:
    assert hasattr(pynetdicom._config, "LOG_HANDLER_LEVEL"), "its standard handlers would log patients' names"
    assert "LOG_HANDLER_LEVEL" in inspect.getsource(Association)


def test_no_other_private_attribute_is_used() -> None:
    used: set[str] = set()
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)} - PRIVATE
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {
            name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
        }
        used |= {name for name in names - own if name.startswith("_") and not name.startswith("__")}
    assert used == PRIVATE
