"""bfloat16 on CPUs: the engine computes a member's own file in fewer digits; gated like any precision."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Member
from cxrserve.cores import usable_cores
from training.precision.gate import Limits, answers, measure, why_refused

# It is taken for its speed wherever a CPU has it, and costs no file: nothing is asked of its speed here.
LIMITS: Final = Limits(probability=0.05, maps=1.0, speed=0.0)
# Images that judge it where there are many. A change of a probability shows on a few, of an AUC on hundreds.
MAX_GATE_IMAGES: Final = 300


def gated(
    member: Member,
    model: bytes,
    images: Sequence[NDArray[np.uint8]],
    labels_NF: NDArray[np.float32] | None,
    data: str,
) -> Member:
    """`member` with what bfloat16 changes on `images`, uint8 [S, S] each: admitted, or refused and why.

    On a CPU that does not compute in it, or without OpenVINO, nothing is measured and nothing admitted.

    Args:
        labels_NF: float32 [N, 14], NaN where nothing is known; without any, no AUC is measured.
        data: the images in words.

    Raises:
        ValueError: it answers with what is no number.
    """
    refused = {precision: why for precision, why in member.refused.items() if precision != "bf16"}
    unmeasured = member.model_copy(update={"bf16": None, "refused": refused})
    if find_spec("openvino") is None:
        return unmeasured
    from cxrserve.engines.openvino import OpenVinoEngine, computes_bf16

    if not computes_bf16():
        return unmeasured
    exact, rounded = (
        answers(OpenVinoEngine(model, size=member.size, precision=precision, threads=usable_cores()), images)
        for precision in ("f32", "bf16")
    )
    gate = measure(
        exact,
        rounded,
        labels_NF,
        LIMITS,
        known=member.supported,
        faster=None,
        data=data,
        engine="openvino, against f32",
    )
    why = why_refused(gate, LIMITS)
    if why is not None:
        return member.model_copy(update={"bf16": None, "refused": refused | {"bf16": f"{why} ({data})"}})
    return member.model_copy(update={"bf16": gate, "refused": refused})
