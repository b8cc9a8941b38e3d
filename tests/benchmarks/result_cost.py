"""Measures the CPU time of each result of one radiograph: report, overlay, presentation state, JSON answer.

    python -m tests.benchmarks.result_cost [BUNDLE]

Medians of 15 runs, of the thread's own CPU time: other work on the machine makes it longer, but less so than
the time. The hashes show whether two versions of the program write the same bytes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cxrserve.imaging.foreign_errors import quiet
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.answer import answer
from cxrserve.reports.dicom import DicomObject, load_reports, read_source, study_report
from cxrserve.settings import Settings
from tests import radiographs
from tests.reports.conftest import PATIENT

_Made = TypeVar("_Made")
RUNS = 15
WHEN = datetime(2026, 3, 4, 5, 6, 7)


def cost_ms(make: Callable[[], _Made]) -> tuple[float, _Made]:
    """Median CPU time in milliseconds, and what was made."""
    times = []
    for _ in range(RUNS):
        started = time.thread_time()
        made = make()
        times.append((time.thread_time() - started) * 1000)
    return statistics.median(times), made


def main() -> None:
    """Measure, and print one line for each result."""
    bundle_path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("models/demo")
    with Pipeline(Settings(bundle=bundle_path, threads=1, decode_workers=1)) as pipeline, quiet:
        bundle = pipeline.predictor.bundle
        data = radiographs.dicom(2048, 1720, **PATIENT)
        source = read_source(pipeline.header(data, timeout_s=60))
        reading = pipeline.read(data, explain="positive", preview_side=1024)
        load_reports()
        from cxrserve.reports.dicom.overlay import overlay_object
        from cxrserve.reports.dicom.presentation import presentation_state
        from cxrserve.reports.dicom.summary import image_summary

        summary = image_summary(source, reading, bundle)
        overlay_ms, overlay = cost_ms(lambda: overlay_object(source, reading, summary, bundle, WHEN))
        state_ms, state = cost_ms(lambda: presentation_state(source, summary, bundle, WHEN))
        report_ms, report = cost_ms(lambda: study_report([source], [summary], [], bundle, when=WHEN))
        answer_ms, _ = cost_ms(lambda: answer(reading, bundle).model_dump_json())
        print(f"{int(reading.prediction.positive_F.sum())} positive findings")
        made: list[tuple[float, DicomObject | None]] = [
            (report_ms, report),
            (overlay_ms, overlay),
            (state_ms, state),
        ]
        for cost, result in made:
            if result is not None:
                print(f"{result.kind:20} {cost:6.1f} ms  {sha256(result.part10).hexdigest()[:16]}")
        print(f"{'answer.json':20} {answer_ms:6.1f} ms")


if __name__ == "__main__":
    main()
