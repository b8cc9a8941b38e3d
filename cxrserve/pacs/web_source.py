"""A DICOMweb server as a source of a bulk run: names by QIDO-RS, images by WADO-RS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import PullServer
from cxrserve.archive.rules import RulesError
from cxrserve.archive.rules_file import load_rules
from cxrserve.errors import ConfigurationError, RequestError, TooLarge
from cxrserve.pacs.pull import ObjectTooLarge, instance_of, radiographs, retrieve

_PAUSES_S: Final = (1.0, 4.0, 16.0, 64.0)  # before the further tries of a server that does not answer
_GONE: Final = (404, 406, 410)  # of one object: it was deleted, or is not given in any syntax


class WebSource:
    """The radiographs on a DICOMweb server. Thread-safe; may be sent to other processes with pickle.

    A name is STUDY/SERIES/INSTANCE, the three UIDs.
    """

    def __init__(self, name: str, server: PullServer) -> None:
        self.location: Final = f"dicomweb:{name}"
        self._server: Final = server

    def names(self) -> list[str]:
        """The names of all radiographs, sorted.

        Raises:
            ConfigurationError: the server did not list all of them.
        """
        names = set()
        try:
            for modality in self._server.modalities:
                for match in radiographs(self._server, complete=True, Modality=modality):
                    if (uids := instance_of(match)) is not None:
                        names.add("/".join(uids))
        except DeliveryError as error:
            raise ConfigurationError(
                f"the images on {self.location} cannot be listed: {error.detail}"
            ) from error
        return sorted(names)

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of one image.

        Raises:
            TooLarge: it has more than `max_bytes`.
            RequestError: the server has it no longer, or refuses to send it.
            ConfigurationError: the server does not answer any more.
        """
        for pause_s in (*_PAUSES_S, None):
            try:
                return retrieve(self._server, *name.split("/"), max_bytes=max_bytes)
            except ObjectTooLarge:
                raise TooLarge(f"more than CXRSERVE_MAX_UPLOAD_BYTES={max_bytes} bytes") from None
            except DeliveryError as error:
                status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
                if not error.retryable or status in _GONE:
                    raise RequestError(f"the image cannot be fetched: {error.detail}") from error
                if pause_s is None:
                    raise ConfigurationError(
                        f"{self.location} does not give images any more: {error.detail} "
                        "What is finished stays; the same command goes on from there."
                    ) from error
            time.sleep(pause_s)
        raise AssertionError


def web_source(name: str, rules: Path | None) -> WebSource:
    """The server `name` of the rules.

    Raises:
        RulesError: there are no rules, or they name no such server.
    """
    servers = load_rules(rules).servers
    if name not in servers:
        known = ", ".join(sorted(servers)) or "none"
        raise RulesError(
            f"dicomweb:{name}: `servers` in the rules (CXRSERVE_RULES={rules or ''}) has no {name}; "
            f"it has: {known}."
        )
    return WebSource(name, servers[name])
