"""Search of worklists at intervals: offers scheduled workitems to the archive, which claims them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.jobs.workitem_offers import WorkitemOffers
from cxrserve.pacs.worklist_manager import UpsManager

_log: Final = logging.getLogger("cxrserve.pacs")


class WorklistSchedule:
    """One thread for each worklist, from construction until closed."""

    def __init__(self, managers: Mapping[str, UpsManager], offers: WorkitemOffers) -> None:
        self._offers: Final = offers
        self._closing: Final = threading.Event()
        for name, manager in managers.items():
            threading.Thread(
                target=self._run, args=(name, manager), name=f"worklist-{name}", daemon=True
            ).start()

    def _run(self, name: str, manager: UpsManager) -> None:
        problem = ""
        while not self._closing.is_set():
            started, before = time.monotonic(), problem
            try:
                self._search(name, manager)
                problem = ""
            except DeliveryError as error:
                problem = error.detail
                self._offers.count(name, "refused")
            except Exception as error:  # the database is away
                problem = type(error).__name__
            if problem and problem != before:  # a manager that stays away is one line of the log
                _log.warning("worklist=%s %s", name, problem)
            elif before and not problem:
                _log.info("worklist=%s answers again", name)
            self._closing.wait(max(0.0, manager.peer.every_s - (time.monotonic() - started)))

    def _search(self, name: str, manager: UpsManager) -> None:
        """Offer as many workitems as the station may hold besides those that it has."""
        free = manager.peer.at_once - self._offers.open_workitems(name)
        if free <= 0:
            return
        for uid in manager.search():
            free -= self._offers.offer(name, uid)
            if free <= 0:
                return

    def close(self) -> None:
        """Stop after the current search. Idempotent."""
        self._closing.set()
