"""The station: the HTTP service, the DICOM node and the durable work behind both, in one process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

from cxrserve import __version__
from cxrserve.allocator import give_back_large_buffers
from cxrserve.api.app import create_app
from cxrserve.api.server import Server, check_transport, configure_logging
from cxrserve.archive.archive import Archive
from cxrserve.archive.rules import RulesError
from cxrserve.archive.rules_file import load_rules
from cxrserve.audit.trail import open_trail
from cxrserve.errors import ConfigurationError
from cxrserve.imaging.sandbox import hide_memory
from cxrserve.pacs.commitment import ReportSender
from cxrserve.pacs.destinations import destinations_of
from cxrserve.pacs.node import Node
from cxrserve.pacs.patient_query import patient_directory
from cxrserve.pacs.priors import prior_source
from cxrserve.pacs.pull import Pull, Schedule, puller_of
from cxrserve.pacs.worklist_manager import worklist_managers
from cxrserve.pacs.worklist_schedule import WorklistSchedule
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.station")
_FAILED: Final = 2
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def serve(settings: Settings, *, http: bool = True, dicom: bool = True) -> int:
    """Serve until told to stop, or until a device that computes has failed for good; the exit status.

    Everything is opened in the order of the data's way back: engines, archive, DICOM port, HTTP port. So what
    is accepted can be kept and worked on. At SIGTERM the ports are closed first, and what was begun has
    `shutdown_timeout_s` to end; the archive takes the rest up at the next start.

    Args:
        http: serve the viewer, the worklist, DICOMweb and the predictions as well.
        dicom: listen for DICOM; without it, and without HTTP, this process only works.
    """
    if settings.archive is None:
        raise ConfigurationError(
            "the node needs a folder for what it receives: --archive or CXRSERVE_ARCHIVE."
        )
    give_back_large_buffers()
    configure_logging(settings.log_level)
    check_transport(settings)
    os.umask(0o077)  # what is received is a patient's: nobody else may read the files
    hide_memory()
    _close_to_others(settings.archive)
    _quiet_libraries()
    stop = threading.Event()
    for number in _ENDING:
        signal.signal(number, lambda *_: stop.set())
    rules = load_rules(settings.rules)
    with ExitStack() as open_now:
        open_now.enter_context(open_trail(settings))
        destinations = destinations_of(rules.destinations, settings.dicom_ae_title)
        pipeline = open_now.enter_context(Pipeline(settings))
        reporter = ReportSender(settings)
        directory = patient_directory(rules, settings.dicom_ae_title)
        priors = prior_source(rules, settings.dicom_ae_title, max_bytes=settings.max_upload_bytes)
        managers = worklist_managers(rules, settings.dicom_ae_title, max_bytes=settings.max_upload_bytes)
        archive = open_now.enter_context(
            Archive.open(settings, pipeline, destinations, reporter, directory, priors, managers)
        )
        node = open_now.enter_context(Node(settings, archive, pipeline.metrics)) if dicom else None
        if node is not None:
            pipeline.metrics.associations.set_function(node.open_associations)
            _say(f"DICOM node {settings.dicom_ae_title} is ready on {settings.host}:{node.port}")
        pulls = {
            name: Pull(source, archive, max_bytes=settings.max_upload_bytes)
            for name, source in rules.servers.items()
        }
        open_now.callback(Schedule(pulls, rules.servers if dicom else {}).close)
        open_now.callback(WorklistSchedule(managers if dicom else {}, archive.workitems).close)
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=_reload, args=(archive,)).start())
        if stop.is_set():
            return 0
        if http:
            server = _Server(create_app(settings, pipeline, archive, puller_of(pulls)), settings)
            return _serve_http(server, node)
        _say(f"cxrserve {__version__} works on {settings.archive}")
        while not stop.wait(1):
            if pipeline.lost is not None:
                return _FAILED
    return 0


def _close_to_others(folder: Path) -> None:
    """Close an archive folder that was made by hand to all other users; new files are closed by the umask."""
    if not folder.exists() or not folder.stat().st_mode & 0o077:
        return
    try:
        folder.chmod(0o700)
    except PermissionError:  # another owner: a volume of Kubernetes, a share
        _log.warning(
            "the archive folder can be read by other users and belongs to another. Its owner should close "
            "it: chmod 0700"
        )


def _reload(archive: Archive) -> None:
    """Read the rules again, on SIGHUP; wrong ones change nothing."""
    try:
        archive.reload_rules()
    except RulesError as error:
        _log.error("the rules were not reloaded, the old ones stay in use: %s", error.detail)
    else:
        _log.info("the rules were reloaded")


def _serve_http(server: _Server, node: Node | None) -> int:
    server.node = node
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn raises it again once it has shut down in order
        pass
    except SystemExit:  # the address could not be bound; uvicorn has logged why
        return _FAILED
    return 0 if server.service.failure is None else _FAILED


class _Server(Server):
    """Closes the DICOM port along with the HTTP port, and not after its last answer."""

    node: Node | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM and SIGINT."""
        super().handle_exit(sig, frame)
        if self.node is not None:
            threading.Thread(target=self.node.stop_accepting, name="stop-accepting").start()


def _quiet_libraries() -> None:
    """pydicom repeats values that it finds odd, which may be a patient's; retrying repeats whole traces."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("retrying").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()
