"""Times of an ordinary peer while another one stores the costliest objects that the fuzz makes.

    python -m tests.benchmarks.costly_objects --seconds 40

Generated objects of up to 1 MiB (nested, empty, private, deflated, of undefined length, and damaged) come one
after another by STOW-RS from 127.0.0.2. From 127.0.0.3 a second peer asks in turn, first alone and then
beside them: C-ECHO, C-STORE, `GET /readyz` and `POST /predict`. Prints one JSON object, as `one_peer` does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import httpx

from cxrserve.multipart import related_body
from tests import radiographs
from tests.benchmarks.one_peer import GREEDY, SecondPeer, peak_memory, times
from tests.fuzz.structures import Maker
from tests.stations import station

_MAX_BYTES = 2**20
_OBJECTS = 60


class CostlySender:
    """A peer that stores generated objects, one after another, until it is stopped."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._bodies = [
            related_body([Maker(seed, max_bytes=_MAX_BYTES).part10()]) for seed in range(_OBJECTS)
        ]
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.statuses: Counter[int] = Counter()

    def _send(self) -> None:
        transport = httpx.HTTPTransport(local_address=GREEDY)
        with httpx.Client(base_url=self._url, transport=transport, timeout=60) as client:
            while not self._ended.is_set():
                body = self._bodies[self.statuses.total() % len(self._bodies)]
                headers = {"Content-Type": body.media_type}
                answer = client.post("/dicom-web/studies", content=body.content, headers=headers)
                self.statuses[answer.status_code] += 1

    def __enter__(self) -> CostlySender:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join(60)


def measure(bundle: Path, seconds: float) -> dict[str, object]:
    """Seconds of the second peer's exchanges alone and beside the costly objects, by kind."""
    rules = {"quiet_time_s": 1, "rules": [{"name": "all", "match": {}}]}
    with (
        tempfile.TemporaryDirectory() as folder,
        station(bundle, Path(folder) / "archive", rules) as running,
        peak_memory(running.process.pid) as peak,
    ):
        second = SecondPeer(running, radiographs.dicom(1024, 1024))
        second.predict()
        alone = times(second, seconds)
        with CostlySender(running.url) as sender:
            beside = times(second, seconds)
        return {
            "alone": alone,
            "beside_costly_objects": beside,
            "costly_objects": dict(sender.statuses),
            "peak_mib": peak[0] >> 20,
            "load": os.getloadavg()[0],
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.bundle, options.seconds), indent=1) + "\n")


if __name__ == "__main__":
    main()
