"""Scales that do not know a finding: no report may give them a probability."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrserve.findings import INDEX, NAMES
from cxrserve.pipeline.pipeline import Pipeline, Reading
from cxrserve.reports.answer import answer
from cxrserve.reports.dicom import image_results, read_source, study_report
from cxrserve.reports.dicom.source import Source
from tests import radiographs
from tests.conftest import MakeSettings
from tests.reports.conftest import WHEN

UNKNOWN = {64: {"Edema", "Fracture"}, 256: {"Edema"}}
SIZES = (64, 128, 256, 512)


def known_by(name: str) -> list[int]:
    return [size for size in SIZES if name not in UNKNOWN.get(size, ())]


@pytest.fixture(scope="module")
def pipeline(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, make_settings: MakeSettings
) -> Iterator[Pipeline]:
    """The tiny bundle, with two members that do not know some findings."""
    folder = tmp_path_factory.mktemp("partial") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    contract = json.loads((folder / "bundle.json").read_text("utf-8"))
    for member in contract["members"]:
        unknown = UNKNOWN.get(member["size"])
        if unknown:
            member["findings"] = [name for name in NAMES if name not in unknown]
    for name in ("Edema", "Fracture"):
        known = known_by(name)
        contract["stack"][INDEX[name]] = [1 / len(known) if size in known else 0.0 for size in SIZES]
    (folder / "bundle.json").write_text(json.dumps(contract), "utf-8")
    with Pipeline(make_settings(bundle=folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def reading(pipeline: Pipeline) -> Reading:
    return pipeline.read(radiographs.dicom(), preview_side=64)


@pytest.fixture(scope="module")
def source(pipeline: Pipeline) -> Source:
    return read_source(pipeline.header(radiographs.dicom(), timeout_s=30))


def test_the_prediction_says_which_scale_knows_which_finding(reading: Reading) -> None:
    supported_FS = reading.prediction.supported_FS
    assert [[SIZES[scale] for scale in np.flatnonzero(row)] for row in supported_FS] == list(
        map(known_by, NAMES)
    )
    assert np.isfinite(reading.prediction.logits_FS).all(), "they look like real logits"


def test_the_json_answer_gives_null(reading: Reading, pipeline: Pipeline) -> None:
    for finding in answer(reading, pipeline.predictor.bundle).findings:
        scales = {scale.size: scale for scale in finding.scales}
        assert [size for size in scales if scales[size].probability is not None] == known_by(finding.finding)
        assert all((scale.logit is None) == (scale.probability is None) for scale in finding.scales)


def test_the_dicom_report_leaves_the_scale_out(reading: Reading, source: Source, pipeline: Pipeline) -> None:
    bundle = pipeline.predictor.bundle
    summary, _ = image_results(source, reading, bundle, when=WHEN)
    for finding in summary.findings:
        assert [scale.size for scale in finding.scales] == known_by(finding.finding), finding.finding
    report = pydicom.dcmread(io.BytesIO(study_report([source], [summary], [], bundle, when=WHEN).part10))
    texts = [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]
    scales = [text for text in texts if " Scales: " in text]
    assert len(scales) == len(NAMES)
    assert sum("weight 0.0000" in text for text in scales) == 0
