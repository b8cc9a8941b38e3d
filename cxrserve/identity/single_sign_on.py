"""Single sign-on: everything that the file of `CXRSERVE_OIDC` configures, as one object of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from cxrserve.identity.clients import Client
from cxrserve.identity.code_flow import CodeFlow
from cxrserve.identity.oidc_config import LoginConfig, load_oidc
from cxrserve.identity.provider import Provider
from cxrserve.identity.sessions import Sessions
from cxrserve.identity.tokens import TokenValidator

_THREADS: Final = 4
_Result = TypeVar("_Result")


class SingleSignOn:
    """Access tokens and, where the viewer is a client of the provider, sign-in and sessions.

    Attributes:
        login: the viewer's configuration; None: only access tokens are accepted.
        sessions: of the users who signed in.

    Raises on construction:
        ConfigurationError: the file or one that it names cannot be used.
    """

    def __init__(self, path: Path) -> None:
        config = load_oidc(path)
        self._provider: Final = Provider(config)
        self._validator: Final = TokenValidator(config, self._provider)
        self.login: Final[LoginConfig | None] = config.login
        self.flow: Final = (
            None
            if config.login is None
            else CodeFlow(config.login, config.issuer, self._provider, self._validator)
        )
        self.sessions: Final = (
            Sessions(session_s=1.0, idle_s=1.0)
            if config.login is None
            else Sessions(session_s=config.login.session_s, idle_s=config.login.idle_s)
        )
        self._threads: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="identity")

    async def client_of(self, token: str) -> Client:
        """The client that an access token names.

        Raises:
            Unauthorized: the token is not valid here.
            IdentityProviderUnavailable: its key is unknown, and the provider does not answer.
        """
        return await self.in_thread(lambda: self._validator.access(token))

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run work that may wait for the provider on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """End the threads; what waits for the provider is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
