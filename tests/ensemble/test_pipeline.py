from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.errors import BundleError, CxrserveError, DeadlineExceeded, Overloaded, UnsupportedFormat
from tests import radiographs
from tests.conftest import MakeSettings


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


def test_one_more_than_may_wait_is_turned_away_at_once(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings(max_waiting=0)) as pipeline:
        holding = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            with pipeline._engines_until(time.perf_counter() + 60):  # as a long inference would
                first = threads.submit(pipeline.read, radiographs.jpeg())
                while not pipeline._inside:
                    holding.wait(0.005)
                with pytest.raises(Overloaded) as refused:
                    pipeline.read(radiographs.jpeg())
            assert first.result().prediction.probabilities_F.shape == (14,)
    assert refused.value.retry_after_s >= 1


def test_a_deadline_drops_the_work(make_settings: MakeSettings) -> None:
    with Pipeline(make_settings(request_timeout_s=0.5)) as pipeline:
        with pipeline._engines_until(time.perf_counter() + 60), ThreadPoolExecutor(1) as threads:
            late = threads.submit(pipeline.read, radiographs.jpeg())
            with pytest.raises(DeadlineExceeded):
                late.result()
        assert pipeline.read(radiographs.jpeg())


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


def test_every_public_film_is_answered(realdata: Path, make_settings: MakeSettings) -> None:
    with Pipeline(make_settings(decode_workers=2)) as pipeline:
        for path in sorted(realdata.joinpath("cxr").iterdir()):
            reading = pipeline.read(path.read_bytes(), explain="none")
            assert np.isfinite(reading.prediction.probabilities_F).all(), path.name


def test_every_public_dicom_file_is_answered_or_refused(realdata: Path, make_settings: MakeSettings) -> None:
    refused: dict[str, int] = {}
    files = sorted(path for path in realdata.joinpath("dicom").rglob("*") if path.is_file())
    with Pipeline(make_settings(decode_workers=2)) as pipeline:
        for path in files:
            try:
                pipeline.read(path.read_bytes(), explain="none")
            except CxrserveError as error:
                refused[path.name] = error.http_status
    assert 0 < len(refused) < len(files)
    assert {name: status for name, status in refused.items() if not 400 <= status < 500} == {}
