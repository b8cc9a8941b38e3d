"""The rows of a part: one for each image, with its probabilities or with the reason of its refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from cxrserve.errors import CxrserveError
from cxrserve.reports.answer import Answer
from cxrserve.reports.columns import DECISIONS, PROBABILITIES, SCORES, values_of

# A column for each finding, named as in the CSV: null where no network knows it, or the image was refused.
SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),  # of the file; null where it could not be read
        pa.field("status", pa.string(), nullable=False),  # ok, or the slug of the problem
        pa.field("problem", pa.string()),  # the reason as a sentence
        *(pa.field(name, pa.float64()) for name in PROBABILITIES),
        pa.field("positive", pa.list_(pa.string())),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("study_instance_uid", pa.string()),
        pa.field("series_instance_uid", pa.string()),
        pa.field("sop_instance_uid", pa.string()),
        pa.field("format", pa.string()),
        pa.field("rows", pa.int32()),
        pa.field("columns", pa.int32()),
        # The networks' own answers: for each size the logits in the order of the columns above.
        pa.field("logits", pa.list_(pa.struct([("size", pa.int32()), ("logits", pa.list_(pa.float64()))]))),
        pa.field("model", pa.string()),
        pa.field("model_sha256", pa.string()),
        *(pa.field(name, pa.float64()) for name in SCORES),
        *(pa.field(name, pa.string()) for name in DECISIONS),
    ]
)


def answered(name: str, sha256: str, answer: Answer) -> dict[str, Any]:
    """The row of an image that was analysed."""
    sizes = [scale.size for scale in answer.findings[0].scales]
    return {
        "file": name,
        "sha256": sha256,
        "status": "ok",
        **values_of(answer.findings),
        "positive": [finding.finding for finding in answer.findings if finding.positive],
        "warnings": sorted({str(warning.code) for warning in answer.warnings}),
        "study_instance_uid": answer.image.study_instance_uid,
        "series_instance_uid": answer.image.series_instance_uid,
        "sop_instance_uid": answer.image.sop_instance_uid,
        "format": answer.image.format,
        "rows": answer.image.rows,
        "columns": answer.image.columns,
        "logits": [
            {"size": size, "logits": [finding.scales[index].logit for finding in answer.findings]}
            for index, size in enumerate(sizes)
        ],
        "model": f"{answer.model.name} {answer.model.version}",
        "model_sha256": answer.model.sha256,
    }


def refused(name: str, sha256: str | None, error: CxrserveError) -> dict[str, Any]:
    """The row of an image that was refused."""
    problem = f"{error.title}: {error.detail}"
    return {"file": name, "sha256": sha256, "status": error.slug, "problem": problem}


def table_of(rows: Sequence[dict[str, Any]], metadata: dict[str, str]) -> pa.Table:
    """The rows as a table; `metadata` (the engine that answered) stands in the file's own metadata."""
    return pa.Table.from_pylist(list(rows), SCHEMA.with_metadata(metadata))
