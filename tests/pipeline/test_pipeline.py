"""Tests of the pipeline with real engines and decode workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.engines.base import Output
from cxrserve.errors import BundleError, ConfigurationError, DeadlineExceeded, Stopping, UnsupportedFormat
from cxrserve.pipeline.pipeline import Pipeline
from tests import radiographs
from tests.bundles import write_tiny_bundle
from tests.conftest import MakeSettings
from tests.scheduling.watched_engines import at_the_gate, sample
from tests.waiting import until


def test_the_same_film_gives_the_same_answer_from_many_threads(make_settings: MakeSettings) -> None:
    films = [radiographs.jpeg(600 + 50 * step, 500) for step in range(4)]
    with Pipeline(make_settings(decode_workers=2)) as pipeline, ThreadPoolExecutor(4) as threads:
        alone = [pipeline.read(film).prediction.probabilities_F for film in films]
        together = list(threads.map(pipeline.read, films * 4))
    for index, reading in enumerate(together):
        np.testing.assert_array_equal(reading.prediction.probabilities_F, alone[index % 4])


def test_a_bad_file_costs_nobody_else(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings()) as pipeline:
        with pytest.raises(UnsupportedFormat):
            pipeline.read(b"nothing of the kind")
        assert pipeline.read(radiographs.jpeg()).prediction.probabilities_F.shape == (14,)


@contextmanager
def _engines_busy(pipeline: Pipeline) -> Iterator[None]:
    """The engines' one owner is held, as by a long inference, while the block lasts."""
    held, release = threading.Event(), threading.Event()
    engine = pipeline.predictor.engines[64]
    run = engine.run

    def slow(image_N1SS: NDArray[np.uint8]) -> Output:
        held.set()
        release.wait()
        return run(image_N1SS)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(engine, "run", slow)
        running = thread.submit(pipeline.read, radiographs.jpeg())
        held.wait(30)
        patch.setattr(engine, "run", run)
        try:
            yield
        finally:
            release.set()
            with suppress(Stopping):
                running.result(30)


def test_what_waits_too_long_is_dropped(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings()) as pipeline:
        with _engines_busy(pipeline), pytest.raises(DeadlineExceeded):
            pipeline.read(radiographs.jpeg(), timeout_s=0.5)
        assert pipeline.read(radiographs.jpeg(), timeout_s=30)


def test_what_waits_when_the_pipeline_closes_ends(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings()) as pipeline, ThreadPoolExecutor(2) as threads:
        with _engines_busy(pipeline):
            waiting = threads.submit(pipeline.read, radiographs.jpeg())
            while pipeline.metrics.registry.get_sample_value("cxrserve_images_inside") != 2:
                time.sleep(0.005)
            closing = threads.submit(pipeline.close)
            with pytest.raises(Stopping):
                waiting.result(timeout=30)
        closing.result(timeout=30)
        with pytest.raises(Stopping):
            pipeline.read(radiographs.jpeg())


def test_a_pipeline_that_cannot_decode_does_not_open(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ConfigurationError, match="decode worker did not start"):
        Pipeline(settings)


def test_a_bundle_that_is_none_leaves_no_process_behind(make_settings: MakeSettings, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Pipeline(make_settings(bundle=tmp_path))


def test_both_engines_give_one_answer(make_settings: MakeSettings) -> None:
    answers = []
    for engine in ("openvino", "onnxruntime"):
        with Pipeline(make_settings(engine=engine, precision="f32")) as pipeline:
            reading = pipeline.read(radiographs.jpeg(), explain="all")
            answers.append(reading.prediction)
    np.testing.assert_allclose(answers[0].probabilities_F, answers[1].probabilities_F, atol=1e-5)
    for finding in range(14):
        np.testing.assert_allclose(answers[0].maps[finding], answers[1].maps[finding], atol=1e-3)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_streams_side_by_side_give_the_same_answers(make_settings: MakeSettings, engine: str) -> None:
    films = [radiographs.jpeg(600 + 50 * step, 500) for step in range(4)]
    asked = {"engine": engine, "precision": "f32", "threads": 2, "decode_workers": 2}
    with Pipeline(make_settings(**asked)) as pipeline:
        alone = [pipeline.read(film).prediction.probabilities_F for film in films]
    with Pipeline(make_settings(**asked, streams=2)) as pipeline, ThreadPoolExecutor(8) as threads:
        together = list(threads.map(pipeline.read, films * 5))
        busy = [sample(pipeline.metrics, "cxrserve_engine_busy_seconds_total", device=one) for one in "01"]
    for index, reading in enumerate(together):
        np.testing.assert_allclose(reading.prediction.probabilities_F, alone[index % 4], rtol=0, atol=1e-6)
    assert min(busy) > 0  # each has its owner


def test_what_each_scale_brings_adds_up_to_the_map(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings()) as pipeline:
        plain = pipeline.read(radiographs.jpeg(), explain="all").prediction
        prediction = pipeline.read(radiographs.jpeg(), explain=(2, 5), explain_scales=True).prediction
    assert plain.scale_maps == {}
    assert set(prediction.scale_maps) == {2, 5}
    for finding, parts in prediction.scale_maps.items():
        assert [(size, part.shape, part.dtype) for size, part in parts.items()] == [
            (size, (size // 32, size // 32), np.dtype(np.float32)) for size in prediction.sizes
        ]
        assert all(part.min() >= 0 for part in parts.values())
        whole = prediction.maps[finding]
        np.testing.assert_array_equal(whole, plain.maps[finding])
        enlarged = [cv2.resize(part, whole.shape, interpolation=cv2.INTER_LINEAR) for part in parts.values()]
        assert (np.sum(enlarged, axis=0) >= whole - 1e-6).all()
        assert max(part.max() for part in parts.values()) > 0


def test_a_member_that_answers_with_no_number_does_not_open(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", (64, 128), bias=np.nan)
    with pytest.raises(BundleError, match="not a number"):
        Pipeline(make_settings(bundle=folder))


def test_closing_waits_for_what_is_inside(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings()) as pipeline, ThreadPoolExecutor(2) as threads:
        with at_the_gate(pipeline, held=True) as gate:
            inside = threads.submit(pipeline.read, radiographs.jpeg())
            gate.reached.wait(30)
            closing = threads.submit(pipeline.close, drain_s=30)
            until(lambda: _refuses(pipeline))
        assert inside.result(30).prediction.probabilities_F.shape == (14,)
        closing.result(30)


def _refuses(pipeline: Pipeline) -> bool:
    try:
        pipeline.read(b"")
    except Stopping:
        return True
    except UnsupportedFormat:
        pass
    return False


def test_decoders_run_ahead_while_the_engines_are_busy(make_settings: MakeSettings) -> None:
    with (
        Pipeline(make_settings(decode_workers=2)) as pipeline,
        ThreadPoolExecutor(5) as threads,
        at_the_gate(pipeline, held=True) as gate,
    ):
        readings = [threads.submit(pipeline.read, radiographs.jpeg()) for _ in range(5)]
        # All five are decoded, and wait with all their scales, before the engine has finished the first.
        until(lambda: sample(pipeline.metrics, "cxrserve_queue_depth", size="512") == 5)
        assert not gate.runs
        gate.open.set()
        assert all(reading.result(30).timing_ms["waiting"] > 0 for reading in readings)
