"""Whole answers a second: native films in, JSON with all 14 heatmaps as PNG out, as the service makes them.

    python -m tests.benchmarks.pipeline_rate BUNDLE [--clients 32] [--seconds 20] [--engine auto]

Decoding, the pyramid, the shared engines, the stack, the maps and their PNGs, as a request has them, all but
HTTP. As many clients as asked for read one film after another; what leaves the pipeline once all of them have
had an answer is counted. Prints answers a second, where the time of one went, and the size of the batches.
"""

from __future__ import annotations

import argparse
import itertools
import os
import threading
import time
from collections import Counter
from pathlib import Path

from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.answer import answer
from cxrserve.settings import Settings
from tests.benchmarks.radiographs import native_images

FILMS = Path(__file__).resolve().parents[2] / "runs" / "benchmark" / "native"


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clients", type=int, default=32, help="Films inside at once.")
    parser.add_argument("--seconds", type=float, default=20.0, help="Time of the measurement.")
    parser.add_argument("--engine", default="auto", help="As CXRSERVE_ENGINE.")
    asked = parser.parse_args()
    settings = Settings.model_validate(
        {"bundle": asked.bundle, "engine": asked.engine, "max_waiting": asked.clients}
    )
    films = [path.read_bytes() for path in native_images(FILMS)]
    with Pipeline(settings) as pipeline:
        choice = pipeline.predictor.choice
        print(
            f"{choice.name} {choice.version} in {pipeline.predictor.precision}, {choice.devices} device(s), "
            f"{settings.decode_workers} decoders, {asked.clients} clients, {os.cpu_count()} cores"
        )
        load = Load(pipeline, films)
        load.run(asked.clients, asked.seconds)
        print(f"{load.rate:.2f} whole answers a second, every heatmap, {load.bytes:,} bytes of JSON each")
        for stage, milliseconds in load.stages_ms().items():
            print(f"  {stage:14} {milliseconds:8.1f} ms")
        for size in pipeline.predictor.sizes:
            print(f"  batches of {size:4}: {load.batch_of(size):.1f} images")


class Load:
    """Clients that read films for a while.

    Attributes:
        rate: answers a second.
        bytes: of the last answer.
    """

    def __init__(self, pipeline: Pipeline, films: list[bytes]) -> None:
        self._pipeline, self._films = pipeline, itertools.cycle(films)
        self._lock, self._stages, self._over = threading.Lock(), Counter[str](), threading.Event()
        self._answers = 0
        self.rate, self.bytes = 0.0, 0

    def run(self, clients: int, seconds: float) -> None:
        """Let `clients` read; count for `seconds` or longer, after each has had its first answer."""
        warm = threading.Barrier(clients + 1)
        threads = [threading.Thread(target=self._read, args=(warm,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        warm.wait()
        began, before = time.perf_counter(), self._answers
        time.sleep(seconds)
        while self._answers - before < clients and all(thread.is_alive() for thread in threads):
            time.sleep(0.05)  # a rate of fewer answers would say nothing
        self.rate = (self._answers - before) / (time.perf_counter() - began)
        self._over.set()
        for thread in threads:
            thread.join()

    def stages_ms(self) -> dict[str, float]:
        """The mean time of each stage of an answer."""
        return {stage: total / self._answers for stage, total in self._stages.items()}

    def batch_of(self, size: int) -> float:
        """The mean number of images of a batch of `size`."""
        registry, labels = self._pipeline.metrics.registry, {"size": str(size)}
        images, batches = (
            registry.get_sample_value(f"cxrserve_batch_images_{what}", labels) or 0.0
            for what in ("sum", "count")
        )
        return images / batches if batches else 0.0

    def _read(self, warm: threading.Barrier) -> None:
        first = True
        while not self._over.is_set():
            with self._lock:
                film = next(self._films)
            reading = self._pipeline.read(film, explain="all")
            said = answer(reading, self._pipeline.predictor.bundle)
            self.bytes = len(said.model_dump_json().encode())
            with self._lock:
                self._answers += 1
                self._stages.update(said.timing_ms)
            if first:
                first = False
                warm.wait()


if __name__ == "__main__":
    main()
