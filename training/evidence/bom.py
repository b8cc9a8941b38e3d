"""The CycloneDX 1.6 ML-BOM: the bundle, its networks with their hashes, its data, and what was measured."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

from training.evidence.figures import REPORT, Evidence, Figure

# A namespace of our own, so that the same bundle gets the same serial number.
_NAMESPACE: Final = uuid.UUID("c1a8e9be-7f5d-5f0f-9f62-2f3a8f0c4b11")


def bom(evidence: Evidence) -> bytes:
    """The bill of materials, as JSON."""
    contract, lineage = evidence.contract, evidence.contract.lineage
    data = {
        "type": "data",
        "bom-ref": "training-data",
        "name": lineage.data,
        "description": "Data that the networks were trained on; no content is included.",
        **({"hashes": [_hash(lineage.data_sha256)]} if lineage.data_sha256 else {}),
        "data": [{"type": "dataset", "name": lineage.data}],
    }
    networks = [
        {
            "type": "machine-learning-model",
            "bom-ref": member.file,
            "name": member.file,
            "description": f"{member.architecture}; {member.parameters} parameters; {member.size} pixels",
            "hashes": [_hash(member.sha256)],
        }
        for member in contract.members
    ]
    if contract.film_check is not None:
        networks.append(
            {
                "type": "machine-learning-model",
                "bom-ref": contract.film_check.file,
                "name": contract.film_check.file,
                "description": f"film check; {contract.film_check.parameters} parameters",
                "hashes": [_hash(contract.film_check.sha256)],
            }
        )
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "bundle",
        "name": contract.name,
        "version": contract.version,
        "description": contract.intended_use,
        "hashes": [_hash(evidence.sha256)],
        "modelCard": {
            "modelParameters": {
                "task": "multi-label classification of chest radiographs",
                "architectureFamily": "convolutional networks at several scales, stacked",
                "datasets": [{"ref": "training-data"}],
                "inputs": [{"format": "DICOM, JPEG or PNG"}],
                "outputs": [{"format": "JSON, DICOM, FHIR"}],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [_metric(figure) for figure in evidence.figures],
            },
            "considerations": {"technicalLimitations": list(contract.limits)},
        },
        "properties": [{"name": "cxrserve:measured", "value": evidence.data}],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, evidence.sha256)}",
        "version": 1,
        "metadata": {"component": model},
        "components": [*networks, data],
        "dependencies": [
            {"ref": "bundle", "dependsOn": [network["bom-ref"] for network in networks]},
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def _metric(figure: Figure) -> dict[str, Any]:
    """A performance metric; its type ends with its place in report.json."""
    metric: dict[str, Any] = {
        "type": f"{figure.measure} ({REPORT}#{figure.source})",
        "value": str(figure.value),
        "slice": f"{figure.finding}, {figure.group}" if figure.group else figure.finding,
    }
    if figure.low is not None and figure.high is not None:
        metric["confidenceInterval"] = {"lowerBound": str(figure.low), "upperBound": str(figure.high)}
    return metric
