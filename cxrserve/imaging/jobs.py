"""The jobs of a decode worker: one function for each kind.

A new kind is a function here, a reader of its answer in `worker_response.py`, and a method of
`workers.DecodePool`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cxrserve.imaging.correction import Correction
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.imaging.display import display
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Response of a worker: a header as JSON, and buffers."""

    header: dict[str, Any]
    payload: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """The settings with which a worker was started."""

    preprocessing: Preprocessing
    limits: Limits


Job = Callable[[bytes, dict[str, Any], Setup], Answer]


def _prepare(data: bytes, request: dict[str, Any], setup: Setup) -> Answer:
    image = prepare(
        data,
        setup.preprocessing,
        setup.limits,
        preview_side=request["preview_side"],
        correction=Correction(**request["correction"]),
    )
    preview = [] if image.preview_HW is None else [image.preview_HW]
    return Answer(
        header={
            "about": dataclasses.asdict(image.about),
            "applied": image.applied,
            "warnings": [dataclasses.asdict(warning) for warning in image.warnings],
            "timing_ms": image.timing_ms,
            "grey": dataclasses.asdict(image.grey) if image.grey is not None else None,
            "preview": list(image.preview_HW.shape) if image.preview_HW is not None else None,
        },
        payload=(*(image.levels[size] for size in sorted(image.levels)), image.check_SS, *preview),
    )


def _header(data: bytes, request: dict[str, Any], setup: Setup) -> Answer:
    return Answer(header={}, payload=(source_header(data, setup.limits),))


def _display(data: bytes, request: dict[str, Any], setup: Setup) -> Answer:
    shown = display(data, setup.preprocessing, setup.limits)
    return Answer(header={"display": shown.header.model_dump(mode="json")}, payload=(shown.payload,))


JOBS: Final[dict[str, Job]] = {"prepare": _prepare, "header": _header, "display": _display}
