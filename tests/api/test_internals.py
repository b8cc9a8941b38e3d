"""The parts of uvicorn, h11 and Starlette that the service uses beyond their documented API must still exist.

An upgrade that removes one fails here with a sentence, not in production with a hanging connection.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from importlib.metadata import version
from pathlib import Path

import fastapi
import h11
import pytest
import starlette
import uvicorn
from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from cxrserve import api

FOLDER = Path(api.__file__).parent
VERSIONS = f"uvicorn {uvicorn.__version__}, h11 {version('h11')}, starlette {starlette.__version__}"
# Methods that protocol.py and server.py override or call.
METHODS = [
    (H11Protocol, "connection_made", "protocol.py"),
    (H11Protocol, "connection_lost", "protocol.py"),
    (H11Protocol, "data_received", "protocol.py"),
    (H11Protocol, "on_response_complete", "protocol.py"),
    (H11Protocol, "send_400_response", "protocol.py"),
    (uvicorn.Server, "on_tick", "server.py"),
    (uvicorn.Server, "shutdown", "server.py"),
    (h11.Connection, "send", "protocol.py"),
    (h11.Connection, "next_event", "strict_http.py"),
]
# What protocol.py reads of its own instance, and of the h11 connection in it.
PROTOCOL_ATTRIBUTES = {"client", "config", "conn", "cycle", "headers", "loop", "transport"}
CONNECTION_ATTRIBUTES = ["our_state", "their_state", "trailing_data"]
H11_NAMES = ["SEND_BODY", "IDLE", "DONE", "SEND_RESPONSE", "Response", "Data", "EndOfMessage"]


@pytest.mark.parametrize(("owner", "name", "user"), METHODS)
def test_a_method_still_exists(owner: type, name: str, user: str) -> None:
    assert callable(getattr(owner, name, None)), (
        f"{VERSIONS}: {owner.__name__}.{name}, which cxrserve/api/{user} uses, is gone"
    )


@pytest.mark.parametrize("name", sorted(PROTOCOL_ATTRIBUTES))
def test_the_protocol_still_has_the_attribute(name: str) -> None:
    async def protocol() -> H11Protocol:
        config = uvicorn.Config(fastapi.FastAPI(), loop="asyncio")
        config.load()
        return H11Protocol(config=config, server_state=ServerState(), app_state={})

    assert hasattr(asyncio.run(protocol()), name), (
        f"{VERSIONS}: H11Protocol.{name}, which cxrserve/api/protocol.py reads, is gone"
    )


@pytest.mark.parametrize("name", CONNECTION_ATTRIBUTES)
def test_the_h11_connection_still_has_the_attribute(name: str) -> None:
    assert hasattr(h11.Connection(h11.SERVER), name), (
        f"{VERSIONS}: h11.Connection.{name}, which cxrserve/api/protocol.py reads, is gone"
    )


@pytest.mark.parametrize("name", H11_NAMES)
def test_h11_still_has_the_name(name: str) -> None:
    assert hasattr(h11, name), f"{VERSIONS}: h11.{name}, which cxrserve/api/protocol.py uses, is gone"


def test_the_protocol_still_sets_up_and_clears_its_cycle() -> None:
    """`on_response_complete` compares the cycle of a response with the current one."""
    assert "self.cycle = RequestResponseCycle(" in inspect.getsource(H11Protocol), VERSIONS
    assert inspect.isclass(RequestResponseCycle)


def test_the_server_still_lists_its_connections() -> None:
    assert ServerState().connections == set(), f"{VERSIONS}: ServerState.connections is no set of protocols"


def test_the_server_still_lists_its_sockets() -> None:
    """`Server.address` reads the port from `servers[0].sockets[0]`."""
    assert "self.servers" in inspect.getsource(uvicorn.Server), (
        f"{VERSIONS}: uvicorn.Server has no `servers`, from which cxrserve/api/server.py reads its port"
    )


def test_a_request_still_reports_a_disconnect() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def read() -> None:
        async for _ in Request({"type": "http", "method": "POST", "headers": []}, receive).stream():
            pass

    with pytest.raises(ClientDisconnect):
        asyncio.run(read())


def test_a_route_is_still_in_the_scope() -> None:
    """Access control and the log read `scope["route"].path`; without it every path would need the token."""
    app = fastapi.FastAPI()
    paths: list[str] = []

    @app.get("/studies/{study}")
    async def study(request: fastapi.Request) -> None:
        paths.append(request.scope["route"].path)

    async def call() -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: object) -> None: ...

        scope = {"type": "http", "method": "GET", "path": "/studies/1", "headers": [], "query_string": b""}
        await app(scope, receive, send)

    asyncio.run(call())
    assert paths == ["/studies/{study}"], VERSIONS


def test_the_list_is_complete() -> None:
    """Every attribute that protocol.py reads of `self` is its own, asyncio's, or listed here."""
    tree = ast.parse((FOLDER / "protocol.py").read_text(encoding="utf-8"))
    reads = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    (protocol,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    own = {node.name for node in protocol.body if isinstance(node, ast.FunctionDef)}
    own |= {name for name in reads if name.startswith("_")}
    assert reads - own == PROTOCOL_ATTRIBUTES
    connection = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.conn"
    }
    assert connection == {*CONNECTION_ATTRIBUTES, "send", "refusal"}  # the last is StrictConnection's own
