"""Scoring of many images: as many at once as the engines run side by side, each through the path that serves.

On a CPU every thread scores images of its own: threads that share one image wait for each other at every
layer. On a GPU engine images go in batches. No answer depends on what is scored beside it.

Legend: S side of a level.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from queue import SimpleQueue
from typing import Final

import numpy as np

from cxrserve.engines.base import Engine, Output
from cxrserve.ensemble.predictor import Levels, Prediction, Predictor
from cxrserve.settings import Settings

# Each image in work at 2048 pixels takes some hundred megabytes in a DenseNet121.
_MOST_AT_ONCE: Final = 8
# Pyramids in one batch of a GPU, at most: six megabytes each.
_MOST_IN_BATCH: Final = 32

# An image's number, and what reads its levels; it is called by another thread.
Job = tuple[int, Callable[[], Levels]]
Scored = tuple[int, Prediction]


def open_for_many(settings: Settings) -> Predictor:
    """The bundle of `settings`, ready to score several images side by side.

    Raises:
        BundleError, EngineError: see `Predictor.open`.
    """
    predictor = Predictor.open(settings, streams=max(settings.streams, min(settings.threads, _MOST_AT_ONCE)))
    predictor.warm_up()
    return predictor


def score_images(predictor: Predictor, jobs: Iterable[Job]) -> Iterator[Scored]:
    """The number of each image and its prediction, in the order of `jobs`.

    Its `engine_S` times are what an image takes of the machine's time, with others beside it.

    Raises:
        BundleError: a member returned NaN or infinity.
        Exception: what reading an image raised.
    """
    idle: SimpleQueue[Mapping[int, Engine]] = SimpleQueue()
    for engines in predictor.replicas:
        idle.put(engines)
    workers = len(predictor.replicas)
    most = max(engine.max_images for engine in predictor.engines.values())

    def score(batch: tuple[Job, ...]) -> list[Scored]:
        levels = [read() for _, read in batch]
        engines = idle.get()
        try:
            outputs = {size: _run(engine, size, levels, workers) for size, engine in engines.items()}
        finally:
            idle.put(engines)
        return [
            (
                number,
                predictor.conclude(
                    {size: output.of_image(position, output.seconds) for size, output in outputs.items()},
                    explain="none",
                ),
            )
            for position, (number, _) in enumerate(batch)
        ]

    threads = ThreadPoolExecutor(workers, "score")
    try:
        pending: deque[Future[list[Scored]]] = deque()
        coming = iter(jobs)
        while batch := tuple(islice(coming, min(most, _MOST_IN_BATCH))):
            pending.append(threads.submit(score, batch))
            if len(pending) > workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _run(engine: Engine, size: int, levels: list[Levels], workers: int) -> Output:
    """The output for a batch; its seconds are those of one image, shared with `workers`."""
    images_N1SS = np.stack([of_image[size] for of_image in levels])[:, None]
    started = time.perf_counter()
    output = engine.run(images_N1SS)
    return replace(output, seconds=(time.perf_counter() - started) / len(levels) / workers)
