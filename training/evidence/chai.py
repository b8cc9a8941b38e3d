"""The CHAI Applied Model Card as XML, XSD v0.2 (Coalition for Health AI, 2025)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from training.evidence.figures import REPORT, Evidence, Figure
from training.evidence.words import NOT_SAID, Words

NAMESPACE: Final = "https://mc.chai.org/v0.2/schema.xsd"


def chai_card(evidence: Evidence, words: Words) -> bytes:
    """The card. Results hold each figure with its interval and its place in report.json."""
    contract, lineage = evidence.contract, evidence.contract.lineage
    root = ElementTree.Element("AppliedModelCard", xmlns=NAMESPACE)
    _add(
        root,
        "BasicInfo",
        ModelName=contract.name,
        ModelDeveloper=words.developer,
        DeveloperContact=words.contact,
    )
    _add(
        root,
        "ReleaseInfo",
        ReleaseStage=words.release_stage,
        ReleaseDate=lineage.created,
        ReleaseVersion=f"{contract.version}, SHA-256 of bundle.json {evidence.sha256}",
        GlobalAvailability=words.availability,
        RegulatoryApproval=words.regulatory_approval,
    )
    summary = _add(root, "ModelSummary", Summary=contract.intended_use)
    keywords = ElementTree.SubElement(summary, "Keywords")
    for finding in ("chest radiograph", *contract.findings):
        ElementTree.SubElement(keywords, "Keyword").text = finding
    _add(
        root,
        "UsesAndDirections",
        IntendedUseAndWorkflow=contract.intended_use,
        PrimaryIntendedUsers=words.intended_users,
        HowToUse=words.how_to_use,
        TargetedPatientPopulation=words.patients,
        CautionedOutOfScopeSettings=" ".join(contract.limits),
    )
    _add(
        root,
        "Warnings",
        KnownRisksAndLimitations=" ".join(contract.limits),
        KnownBiasesOrEthicalConsiderations=words.biases,
        ClinicalRiskLevel=words.risk_level,
    )
    trust = ElementTree.SubElement(root, "TrustIngredients")
    _add(
        trust,
        "AISystemFacts",
        OutcomesAndOutputs="A probability of each finding and a heatmap that explains it.",
        ModelType="; ".join(
            f"{member.size} pixels: {member.architecture}, {member.parameters} parameters"
            for member in contract.members
        ),
        FoundationModels=lineage.weights or "None: the weights began at random.",
        InputDataSource=lineage.data,
        OutputAndInputDataTypes="Input: one radiograph as DICOM, JPEG or PNG. Output: JSON, DICOM, FHIR.",
        DevelopmentDataCharacterization=lineage.data,
        BiasMitigationApproaches=words.bias_mitigation,
        OngoingMaintenance=words.maintenance,
    )
    _add(
        trust,
        "TransparencyInformation",
        FundingSource=words.funding,
        StakeholdersConsulted=words.stakeholders,
    )
    metrics = ElementTree.SubElement(root, "KeyMetrics")
    whole = [figure for figure in evidence.figures if not figure.group]
    grouped = [figure for figure in evidence.figures if figure.group]
    _metric(metrics, "UsefulnessUsabilityEfficacy", "To rank and to find each finding.", whole, evidence)
    _metric(metrics, "FairnessEquity", words.fairness_goal, grouped, evidence)
    _metric(metrics, "SafetyReliability", words.safety_goal, [], evidence)
    _add(
        root,
        "Resources",
        EvaluationReferences=f"{REPORT} and report.html in the bundle.",
        PeerReviewedPublications=words.publications,
        PatientConsentOrDisclosure=words.consent,
    )
    ElementTree.SubElement(root, "Bibliography").text = words.bibliography
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _add(parent: ElementTree.Element, name: str, **texts: str) -> ElementTree.Element:
    """Add an element with one child for each text, in the order of the schema."""
    element = ElementTree.SubElement(parent, name)
    for child, text in texts.items():
        ElementTree.SubElement(element, child).text = text
    return element


def _metric(
    parent: ElementTree.Element, name: str, goal: str, figures: Sequence[Figure], evidence: Evidence
) -> None:
    element = ElementTree.SubElement(parent, name)
    ElementTree.SubElement(element, "MetricGoal").text = goal
    results = ElementTree.SubElement(element, "Results")
    for figure in figures:
        of = f" in {figure.group}" if figure.group else ""
        _add(
            results,
            "MetricResult",
            Label=f"{figure.measure} of {figure.finding}{of}",
            ValueJson=_value(figure),
        )
    if not figures:
        _add(results, "MetricResult", Label="Not measured", ValueJson=json.dumps({"kind": "none"}))
    said = f"Measured through the path that serves, {evidence.report['engine']}."
    for child, text in (
        ("Interpretation", said if figures else NOT_SAID),
        ("TestType", "Retrospective, on images that did not train the networks." if figures else NOT_SAID),
        ("TestingDataDescription", evidence.data if figures else NOT_SAID),
        ("ValidationProcessAndJustification", str(evidence.report["method"]) if figures else NOT_SAID),
    ):
        ElementTree.SubElement(element, child).text = text


def _value(figure: Figure) -> str:
    source = f"{REPORT}#{figure.source}"
    if figure.low is None or figure.high is None:
        return json.dumps({"kind": "single", "value": figure.value, "source": source})
    return json.dumps(
        {
            "kind": "estimate_ci",
            "estimate": figure.value,
            "lower": figure.low,
            "upper": figure.high,
            "level": 95,
            "source": source,
        }
    )
