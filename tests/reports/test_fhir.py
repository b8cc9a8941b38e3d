"""The DiagnosticReport, read back by the models of fhir.resources and compared with the summary."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pydicom
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from cxrserve.findings import FINDINGS, NAMES
from cxrserve.reports.dicom import Refusal, study_report
from cxrserve.reports.dicom.identity import device_uid
from cxrserve.reports.fhir import diagnostic_report
from tests import radiographs
from tests.reports.conftest import PATIENT, WHEN, Made, Make


def contained(report: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in report["contained"] if each["resourceType"] == kind]


@pytest.fixture(scope="module")
def report(made: Made) -> dict[str, Any]:
    said = diagnostic_report([made.source], [made.summary], [], made.bundle, when=WHEN)
    DiagnosticReport.model_validate_json(said)
    parsed: dict[str, Any] = json.loads(said)
    return parsed


def test_it_is_preliminary_and_about_the_patient(report: dict[str, Any], made: Made) -> None:
    assert report["resourceType"] == "DiagnosticReport"
    assert report["status"] == "preliminary"
    assert report["subject"]["identifier"]["value"] == "4711"
    assert report["identifier"][0]["value"] == "A-99"
    assert report["effectiveDateTime"] == "2026-03-01"
    assert report["code"]["coding"][0] == {
        "system": "http://loinc.org", "code": "36554-4", "display": "XR Chest Single view",
    }  # fmt: skip
    assert "Research use only" in report["conclusion"]
    (study,) = contained(report, "ImagingStudy")
    assert study["identifier"][0]["value"] == f"urn:oid:{made.source.study_instance_uid}"
    (series,) = study["series"]
    assert (series["modality"]["code"], series["modality"]["display"]) == ("DX", "Digital Radiography")
    (device,) = contained(report, "Device")
    assert device["identifier"][0]["value"] == f"urn:oid:{device_uid(made.bundle)}"


def test_one_observation_for_each_finding(report: dict[str, Any], made: Made) -> None:
    observations = contained(report, "Observation")
    assert [each["code"]["text"] for each in observations] == list(NAMES)
    assert [each["reference"] for each in report["result"]] == [f"#{each['id']}" for each in observations]
    for observation, finding, told in zip(observations, FINDINGS, made.summary.findings, strict=True):
        assert observation["code"]["coding"][0]["code"] == finding.code.value
        assert observation["valueQuantity"]["value"] == pytest.approx(told.probability, abs=1e-6)
        assert observation["component"][0]["valueQuantity"]["value"] == told.threshold
        codes = [coding["code"] for coding in observation["interpretation"][0]["coding"]]
        assert codes == (["POS", "52101004"] if told.positive else ["NEG", "2667000"])
    positive = {each.finding for each in made.summary.findings if each.positive}
    assert len(report["conclusionCode"]) == len(positive)


def uid_of(resource: dict[str, Any]) -> str:
    (identifier,) = resource["identifier"]
    assert identifier["system"] == "urn:dicom:uid"
    return str(identifier["value"]).removeprefix("urn:oid:")


def test_several_images_are_members_of_the_studys_findings(made: Made, make: Make) -> None:
    second = make(
        radiographs.dicom(700, 400, **PATIENT | {"SOPInstanceUID": "1.2.3.4", "ViewPosition": "LL"})
    )
    summaries, sources = [made.summary, second.summary], [made.source, second.source]
    said = diagnostic_report(sources, summaries, [], made.bundle, when=WHEN)
    DiagnosticReport.model_validate_json(said)
    report = json.loads(said)
    inside = {f"#{each['id']}": each for each in report["contained"]}
    assert len(inside) == len(report["contained"]) == 2 + 2 + 3 * len(NAMES)
    images = [inside[each["link"]["reference"]] for each in report["media"]]
    assert [uid_of(each) for each in images] == [each.image.sop_instance_uid for each in summaries]
    assert [each.get("view", {}).get("text") for each in images] == [each.view_position for each in summaries]
    for index, result in enumerate(report["result"]):
        whole = inside[result["reference"]]
        members = [inside[each["reference"]] for each in whole["hasMember"]]
        told = [each.findings[index].probability or 0 for each in summaries]
        assert [each["valueQuantity"]["value"] for each in members] == pytest.approx(told, abs=1e-6)
        assert whole["valueQuantity"]["value"] == pytest.approx(max(told), abs=1e-6)
        assert "maximum over 2 images" in whole["method"]["text"]
        for member, image in zip(members, images, strict=True):
            assert member["code"] == whole["code"]
            assert member["derivedFrom"] == [{"reference": "#study"}, {"reference": f"#{image['id']}"}]
    # the same findings under the same UIDs in the structured report
    document = str(pydicom.dcmread(io.BytesIO(study_report(
        sources, summaries, [], made.bundle, when=WHEN
    ).part10)))  # fmt: skip
    assert all(uid_of(each) in document for each in contained(report, "Observation"))


def test_one_image_has_no_members(report: dict[str, Any], made: Made) -> None:
    (image,) = contained(report, "Media")
    assert uid_of(image) == made.source.sop_instance_uid
    assert (image["height"], image["width"]) == (made.summary.rows, made.summary.columns)
    document = str(pydicom.dcmread(io.BytesIO(made.objects["report"].part10)))
    for each in contained(report, "Observation"):
        assert "hasMember" not in each
        assert uid_of(each) in document
        assert each["derivedFrom"] == [{"reference": "#study"}, {"reference": "#image-1"}]


def test_a_refused_film_and_an_unknown_finding_are_named(made: Made) -> None:
    refusal = Refusal(image=made.source.reference, slug="x", title="Not a chest radiograph", detail="A knee.")
    alone = json.loads(diagnostic_report([made.source], [], [refusal], made.bundle, when=WHEN))
    assert "was not analysed: Not a chest radiograph. A knee." in alone["conclusion"]
    assert "result" not in alone
    assert alone["code"]["coding"][0]["code"] == "43468-8", "nobody said that it is a chest"
    first, *others = made.summary.findings
    unknown = first.model_copy(update={"probability": None, "threshold": None, "positive": False})
    summary = made.summary.model_copy(update={"findings": (unknown, *others)})
    said = json.loads(diagnostic_report([made.source], [summary], [], made.bundle, when=WHEN))
    assert f"Not known to this model: {first.finding}." in said["conclusion"]
    assert len(contained(said, "Observation")) == len(NAMES) - 1


@pytest.mark.parametrize(("modality", "code"), [("CR", "CR"), ("SC", "OT"), (None, "OT")])
def test_a_series_is_of_the_modality_of_its_images(made: Made, modality: str | None, code: str) -> None:
    other = replace(made.source, header=deepcopy(made.source.header))
    other.header.SeriesInstanceUID, other.header.SOPInstanceUID = "1.2.3", "1.2.3.4"
    other.header.Modality = modality
    second = made.summary.model_copy(update={"image": other.reference})
    said = json.loads(
        diagnostic_report([made.source, other], [made.summary, second], [], made.bundle, when=WHEN)
    )
    (study,) = contained(said, "ImagingStudy")
    found = {each["uid"]: each["modality"] for each in study["series"]}
    assert found[made.source.series_instance_uid]["code"] == "DX"
    assert found["1.2.3"]["code"] == code
