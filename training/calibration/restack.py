"""A new stack for a finished bundle: each member calibrated by finding, then the weights of the sum.

Of the labelled images the patients of one third fit the stack; the others are left to calibrate and measure
it. What was measured with the old stack does not hold for the new one, and leaves the contract.

Legend: N images, F findings, S scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import Contract
from cxrserve.ensemble.stack import stacked
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from training.calibration.outputs import ImageOutputs
from training.recipes import StackConfig
from training.steps.calibration import operating_points
from training.steps.fit_stack import fit_stack

# Share of the studies that fits the stack.
FITTED: Final = 1 / 3


def parts(images: Sequence[ImageOutputs]) -> tuple[list[ImageOutputs], list[ImageOutputs]]:
    """The images whose studies fit the stack, and the others; always the same for the same studies."""
    studies = np.unique([image.study for image in images])
    drawn = np.random.default_rng(0).permutation(studies)[: round(len(studies) * FITTED)]
    fitting = set(drawn.tolist())
    return (
        [image for image in images if image.study in fitting],
        [image for image in images if image.study not in fitting],
    )


def restacked_contract(contract: Contract, images: Sequence[ImageOutputs], data: str) -> Contract:
    """`contract` with members calibrated, weights fitted and operating points chosen on `images`.

    Without what belonged to the old stack: calibration of the sum, figures, early decisions.

    Raises:
        RequestError: the members do not all know the same findings, or there is one member alone.
    """
    known = [name for name in NAMES if name not in contract.unavailable]
    if len(contract.members) < 2 or any(
        member.supported != contract.members[0].supported for member in contract.members
    ):
        raise RequestError(
            "a stack is fitted over two members or more that know the same findings: this bundle has "
            + "; ".join(f"{member.size} px with {len(member.supported)}" for member in contract.members)
            + " findings. Leave --stack away."
        )
    logits_NFS = np.stack([image.raw_FS for image in images])
    labels_NF = np.stack([image.labels_F for image in images])
    fit = fit_stack(logits_NFS, labels_NF, StackConfig(kind="calibrated"))
    words = f"{len(images)} {data}"
    members = []
    for scale, member in enumerate(contract.members):
        calibration = {
            name: Calibration(
                slope=float(fit.slopes_FS[finding, scale]),
                intercept=float(fit.intercepts_FS[finding, scale]),
                data=words,
                events=int((labels_NF[:, finding] > 0.5).sum()),
                non_events=int((labels_NF[:, finding] <= 0.5).sum()),
            )
            for finding, name in enumerate(NAMES)
            if name in known
        }
        members.append(member.model_copy(update={"calibration": calibration}))
    scores_NF = stacked(fit.slopes_FS * logits_NFS + fit.intercepts_FS, fit.weights_FS)
    rows = zip(NAMES, fit.weights_FS.tolist(), strict=True)
    setting = f"stack.kind (calibrated, fitted by `models calibrate` on {words})"
    others = [line for line in contract.lineage.settings if not line.startswith("stack.kind ")]
    return contract.model_copy(
        update={
            "members": tuple(members),
            "stack": tuple(tuple(row) if name in known else (0.0,) * len(row) for name, row in rows),
            "lineage": contract.lineage.model_copy(update={"settings": (*others, setting)}),
            "calibration": "identity",
            "operating_points": operating_points(scores_NF, labels_NF, data, known),
            "study_calibration": {},
            "study_operating_points": {},
            "heatmap_scales": {},
            "metrics": None,
            "triage": None,
        }
    )
