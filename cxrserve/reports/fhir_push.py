"""A study's DiagnosticReport as it is sent to a FHIR server, with an identifier that finds it again there."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence

from cxrserve.bundle.contract import Bundle
from cxrserve.reports.dicom.identity import series_uid
from cxrserve.reports.dicom.objects import ImageSummary, Refusal
from cxrserve.reports.dicom.source import Source


def pushed_report(
    sources: Sequence[Source],
    summaries: Sequence[ImageSummary],
    refusals: Sequence[Refusal],
    bundle: Bundle,
    *,
    when: datetime.datetime,
) -> bytes:
    """As `fhir.diagnostic_report`, without an id, which the server gives.

    Its identifier is the Series Instance UID of this study's structured reports, the same for each revision.
    """
    from cxrserve.reports.fhir import diagnostic_report  # its models take a second to import

    report = json.loads(diagnostic_report(sources, summaries, refusals, bundle, when=when))
    del report["id"]
    uid = series_uid("report", bundle, sources[0].study_instance_uid)
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}
    report["identifier"] = [*report.get("identifier", ()), identifier]
    return json.dumps(report, ensure_ascii=False).encode()
