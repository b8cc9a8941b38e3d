"""A real station: `cxrserve pacs serve` as a process of its own, on free ports, with an archive folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

_PATIENCE_S = 60.0
_DICOM = re.compile(r"DICOM node \S+ is ready on 127\.0\.0\.1:(\d+)")
_HTTP = re.compile(r"is ready on (http://\S+)")


@dataclass(kw_only=True)
class Station:
    """A station that runs.

    Attributes:
        url: base of its HTTP service, "" without one.
        lines: what it has written so far, both streams.
    """

    process: subprocess.Popen[str]
    archive: Path
    dicom_port: int = 0
    url: str = ""
    lines: list[str] = field(default_factory=list)

    def said(self, pattern: str, timeout_s: float = _PATIENCE_S) -> re.Match[str]:
        """Wait for a line in which `pattern` is found."""
        until = time.monotonic() + timeout_s
        seen = 0
        while time.monotonic() < until:
            for line in self.lines[seen:]:
                if found := re.search(pattern, line):
                    return found
                seen += 1
            assert self.process.poll() is None or seen < len(self.lines), "\n".join(self.lines[-40:])
            time.sleep(0.02)
        raise AssertionError(f"the station did not say {pattern!r}:\n" + "\n".join(self.lines[-40:]))

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = _PATIENCE_S) -> int:
        """End it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    @property
    def open_files(self) -> int:
        """File descriptors of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def threads(self) -> int:
        """Threads of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def station(
    bundle: Path,
    archive: Path,
    rules: Mapping[str, object] | None = None,
    *arguments: str,
    **settings: object,
) -> Iterator[Station]:
    """Run a station while the block lasts; it is ready when the block begins.

    Args:
        rules: the content of its rules file.
        arguments: flags of `cxrserve pacs serve`.
        settings: of `Settings`, by name.
    """
    usual: dict[str, object] = {
        "bundle": bundle,
        "archive": archive,
        "port": 0,
        "dicom_port": 0,
        "threads": 1,
        "decode_workers": 1,
        "shutdown_timeout_s": 5,
        "archive_min_free_bytes": 1,
    }
    if rules is not None:
        path = archive.with_suffix(".rules.yaml")
        path.write_text(yaml.safe_dump(dict(rules)))
        usual["rules"] = path
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXRSERVE_")}
    environment |= {f"CXRSERVE_{name.upper()}": str(value) for name, value in {**usual, **settings}.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "cxrserve", "pacs", "serve", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Station(process=process, archive=archive)
    reader = threading.Thread(target=_read, args=(running,), name="station-output", daemon=True)
    reader.start()
    try:
        if "--worker-only" not in arguments:
            running.dicom_port = int(running.said(_DICOM.pattern)[1])
        if not {"--no-http", "--worker-only"} & set(arguments):
            running.url = running.said(_HTTP.pattern)[1]
        yield running
    finally:
        running.stop(signal.SIGKILL if sys.exc_info()[0] else signal.SIGTERM)
        reader.join(_PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


def _read(running: Station) -> None:
    assert running.process.stdout is not None
    for line in running.process.stdout:
        running.lines.append(line.rstrip("\n"))
