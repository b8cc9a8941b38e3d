"""The objects, judged by programs that others wrote: dicom3tools, dcmtk, highdicom, pydicom."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from cxrserve.findings import CLINICAL_ORDER, FINDINGS, INDEX, NAMES
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.dicom import (
    DicomObject,
    ImageSummary,
    Options,
    Refusal,
    Region,
    image_results,
    read_source,
    refusal_report,
    study_report,
)
from cxrserve.reports.dicom.identity import PENDING_UID, plain
from cxrserve.reports.dicom.instance import with_sop_instance_uid
from cxrserve.reports.dicom.page import page
from cxrserve.reports.dicom.presentation import presentation_state
from cxrserve.reports.fhir import diagnostic_report
from tests import dcmtk, radiographs
from tests.reports.conftest import PATIENT, WHEN, Made, Make

KINDS = ("overlay", "presentation-state", "segmentation", "report")


def read(made: DicomObject) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(made.part10))


def written(made: DicomObject, folder: Path) -> Path:
    path = folder / f"{made.kind}.dcm"
    path.write_bytes(made.part10)
    return path


def errors_of_dciodvfy(path: Path) -> list[str]:
    said = subprocess.run([dcmtk.path_of("dciodvfy"), path], capture_output=True, check=False)
    lines = (said.stdout + said.stderr).decode("latin-1").splitlines()  # it quotes any character set
    return [line for line in lines if line.startswith("Error")]


def lut(first: int, entries: Iterable[float], bits: int, vr: str = "OW") -> Dataset:
    """An item of a Modality or VOI LUT Sequence."""
    words = [int(each) for each in entries]
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(words) % 65536, first, bits])
    item.add_new("LUTData", vr, np.array(words, "<u2").tobytes() if vr == "OW" else words)
    item.LUTExplanation = "CURVE"
    return item


def content_of(report: DicomObject) -> Any:
    """The content as highdicom's reader takes it apart; its types say less than it gives."""
    content = Comprehensive3DSR.from_dataset(read(report)).content
    assert isinstance(content, MeasurementReport)
    return content


@pytest.fixture(scope="session")
def second(make: Make) -> Made:
    """Another image of the same study."""
    return make(radiographs.dicom(700, 400, **PATIENT | {"SOPInstanceUID": "1.2.3.4", "ViewPosition": "LL"}))


@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(made: Made, kind: str, tmp_path: Path) -> None:
    assert errors_of_dciodvfy(written(made.objects[kind], tmp_path)) == []


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PatientName": None, "PatientOrientation": None, "ViewPosition": None},
        {
            "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        },
        {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люкceмбypг"},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Łukaszewicz^Žofie", "PatientSex": "O"},
        {"RescaleSlope": "0", "RescaleIntercept": "0", "WindowCenter": "10", "WindowWidth": "-5"},
        {"RescaleSlope": "2", "RescaleIntercept": "-1", "RescaleType": "US", "PixelAspectRatio": [2, 1]},
        {"ModalityLUTSequence": [lut(0, range(65535, -1, -9), 16)], "WindowCenter": 99, "WindowWidth": 9},
        {"VOILUTSequence": [lut(0, range(65536), 16), lut(0, [0, 255], 8)]},
        {"VOILUTSequence": [lut(0, [0, 65535], 16, "US"), lut(-7, [0, 255, 17], 8)]},
    ],
)
def test_dciodvfy_finds_no_error_whatever_the_header(
    make: Make, elements: dict[str, Any], tmp_path: Path
) -> None:
    made = make(radiographs.dicom(**elements))
    for each in made.objects.values():
        assert errors_of_dciodvfy(written(each, tmp_path)) == [], each.kind
        name = str(read(each).PatientName or "")
        assert name == (elements.get("PatientName", "Nobody") or "")
    if "SpecificCharacterSet" not in elements and made.source.header.get("PatientName"):
        # dcmpschk takes neither an empty name, which is type 2, nor one in UTF-8.
        check = dcmtk.run("dcmpschk", written(made.objects["presentation-state"], tmp_path))
        assert "Test passed" in check.stdout, check.stdout


def test_the_objects_belong_together(made: Made, tmp_path: Path) -> None:
    """dcentvfy compares patient, study and series over all files."""
    image = tmp_path / "image.dcm"
    image.write_bytes(radiographs.dicom(**PATIENT))
    paths = [written(each, tmp_path) for each in made.objects.values()]
    said = dcmtk.run("dcentvfy", image, *paths).stdout
    assert not [line for line in said.splitlines() if line.startswith("Error")]


def test_patient_and_study_are_the_images(made: Made) -> None:
    film = radiographs.dataset(**PATIENT)
    for each in made.objects.values():
        found = read(each)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
                        "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription",
                        "ReferringPhysicianName"):  # fmt: skip
            assert found[keyword].value == film[keyword].value, (each.kind, keyword)
        assert found.SeriesInstanceUID != film.SeriesInstanceUID
        assert found.SOPInstanceUID == each.sop_instance_uid
        assert found.SOPClassUID == each.sop_class_uid == found.file_meta.MediaStorageSOPClassUID


def test_the_device_stands_in_every_object(made: Made) -> None:
    contract = made.bundle.contract
    for each in made.objects.values():
        (equipment,) = read(each).ContributingEquipmentSequence
        purpose = equipment.PurposeOfReferenceCodeSequence[0]
        assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109102", "DCM")
        assert equipment.ManufacturerModelName == contract.name
        assert any(contract.version in version for version in equipment.SoftwareVersions)
        assert re.fullmatch(r"2\.25\.\d+", equipment.DeviceUID)
        assert read(each).DeviceUID == equipment.DeviceUID


def test_a_retrained_model_is_another_device(made: Made) -> None:
    retrained = replace(made.bundle, sha256=hashlib.sha256(b"another").hexdigest())
    again = study_report([made.source], [made.summary], [], retrained, when=WHEN)
    one, other = read(made.objects["report"]), read(again)
    assert one.DeviceUID != other.DeviceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID


def test_work_done_twice_gives_the_same_bytes(make: Make, made: Made) -> None:
    again = make(radiographs.dicom(**PATIENT))
    assert {kind: each.part10 for kind, each in again.objects.items()} == {
        kind: each.part10 for kind, each in made.objects.items()
    }


def test_other_bytes_have_another_uid(made: Made) -> None:
    """One UID for two objects that differ is what a PACS takes for a damaged copy."""

    def made_at(when: datetime, reading: Reading) -> list[DicomObject]:
        summary, objects = image_results(
            made.source, reading, made.bundle, when=when, options=Options(segmentation=True)
        )
        return [*objects, study_report([made.source], [summary], [], made.bundle, when=when)]

    prediction = made.reading.prediction
    nearly = replace(prediction, probabilities_F=prediction.probabilities_F * np.float32(0.999))
    all_made = [
        *made_at(WHEN, made.reading),
        *made_at(WHEN + timedelta(seconds=1), made.reading),
        *made_at(WHEN, replace(made.reading, prediction=nearly)),
    ]
    assert len(all_made) == 3 * len(KINDS)
    bytes_of = {each.sop_instance_uid: each.part10 for each in all_made}
    assert all(bytes_of[each.sop_instance_uid] == each.part10 for each in all_made)
    assert all(read(each).SOPInstanceUID == each.sop_instance_uid for each in all_made)


def test_a_uid_put_in_by_bytes_gives_the_bytes_of_encoding_again(made: Made) -> None:
    for each in made.objects.values():
        pending = with_sop_instance_uid(each.part10, each.sop_instance_uid, PENDING_UID)
        instance = read(each)
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = UID(PENDING_UID)
        again = io.BytesIO()
        pydicom.dcmwrite(again, instance, enforce_file_format=True)
        assert pending == again.getvalue(), each.kind
        assert with_sop_instance_uid(pending, PENDING_UID, each.sop_instance_uid) == each.part10


def test_the_overlay_is_compressed_losslessly(made: Made) -> None:
    overlay = read(made.objects["overlay"])
    assert overlay.file_meta.TransferSyntaxUID == RLELossless
    page_HW3 = page(made.reading, made.summary.findings, made.bundle)
    assert np.array_equal(overlay.pixel_array, page_HW3)
    assert len(made.objects["overlay"].part10) < page_HW3.nbytes * 0.6


def test_every_panel_of_the_overlay_shows_a_place(made: Made) -> None:
    """The bundle's one colour scale would leave weaker findings without any colour."""
    weak = replace(made.bundle, contract=made.bundle.contract.model_copy(update={"heatmap_scale": 1e6}))
    sheet = page(made.reading, made.summary.findings, weak)
    panels_HW3 = sheet[80:, :940].astype(int)
    positive = int(made.reading.prediction.positive_F.sum())
    hot_HW = (np.ptp(panels_HW3, axis=2) > 60).astype(np.uint8)
    across = np.flatnonzero(hot_HW.any(axis=0))
    assert hot_HW.mean() > 0.02
    assert np.ptp(across) > 400, f"only one of {positive} panels has colour"


def test_the_overlay_is_a_page_in_colour(made: Made) -> None:
    page = read(made.objects["overlay"])
    pixels = page.pixel_array
    assert pixels.shape == (1000, 1440, 3)
    assert page.BurnedInAnnotation == "YES"
    assert list(page.PatientOrientation) == ["L", "F"]
    assert (np.ptp(pixels, axis=2) > 60).mean() > 0.002  # the accent and the heatmaps
    assert page.SourceImageSequence[0].ReferencedSOPInstanceUID == made.source.sop_instance_uid


def test_another_patient_gives_the_same_page(make: Make, made: Made) -> None:
    """Nothing of the patient is burnt in."""
    other = make(radiographs.dicom(**PATIENT | {"PatientName": "Someone^Else", "PatientID": "99"}))
    assert np.array_equal(
        read(other.objects["overlay"]).pixel_array, read(made.objects["overlay"]).pixel_array
    )


def test_the_presentation_state_draws_every_region_over_the_image(made: Made) -> None:
    state = read(made.objects["presentation-state"])
    (image,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == made.source.sop_instance_uid
    area = state.DisplayedAreaSelectionSequence[0]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [radiographs.COLUMNS, radiographs.ROWS]
    assert list(area.PresentationPixelSpacing) == [0.5, 0.5]
    assert state.PresentationLUTShape == "IDENTITY"
    assert state.SoftcopyVOILUTSequence[0].WindowCenter == 2048
    drawn = [
        graphic
        for annotation in state.GraphicAnnotationSequence
        for graphic in annotation.get("GraphicObjectSequence", [])
    ]
    regions = [region for finding in made.summary.findings for region in finding.regions]
    assert len(drawn) == len(regions) > 0
    for graphic, region in zip(drawn, regions, strict=True):
        assert np.allclose(np.reshape(graphic.GraphicData, (-1, 2)), region.points, atol=0.01)
    layers = {layer.GraphicLayer for layer in state.GraphicLayerSequence}
    assert layers == {each.GraphicLayer for each in state.GraphicAnnotationSequence}
    assert (
        "RESEARCH USE ONLY" in state.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    )


@pytest.mark.parametrize(
    "windows",
    [
        {"WindowCenter": ["2048", "1500", "900"], "WindowWidth": ["4096", "3000", "1"]},
        {"WindowCenter": ["10", "1500"], "WindowWidth": ["0", "3000"]},  # the first is none
        {"WindowCenter": ["10", "1500"], "WindowWidth": "3000"},
        {"WindowCenter": ["10", "1500"], "WindowWidth": ["-1", "0"]},
        {"VOILUTSequence": [lut(0, range(4096), 12), lut(0, [0, 4095], 12)], "WindowCenter": None},
    ],
)
def test_a_presentation_state_has_one_window_or_one_table(
    make: Make, windows: dict[str, Any], tmp_path: Path
) -> None:
    """PS3.3 Table C.11.8-1: DCMTK opens no state with several."""
    image = radiographs.dicom(**PATIENT | windows)
    state = make(image).objects["presentation-state"]
    for item in read(state).get("SoftcopyVOILUTSequence", []):
        assert item.get("WindowCenter") is None or item["WindowCenter"].VM == item["WindowWidth"].VM == 1
        assert len(item.get("VOILUTSequence", [])) <= 1
    path, drawn = tmp_path / "image.dcm", tmp_path / "drawn.pgm"
    path.write_bytes(image)
    assert "Test passed" in dcmtk.run("dcmpschk", written(state, tmp_path)).stdout
    shown = dcmtk.run("dcmp2pgm", "-p", written(state, tmp_path), path, drawn)
    assert shown.returncode == 0, shown.stdout


def boxes_of(state: Dataset, summary: ImageSummary) -> list[tuple[float, float, float, float]]:
    """All text of a presentation state, the notice first, in pixels of the image."""
    boxes = []
    for annotation in state.GraphicAnnotationSequence:
        for text in annotation.get("TextObjectSequence", []):
            box = (*text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner)
            if text.BoundingBoxAnnotationUnits == "DISPLAY":
                sides = (summary.columns, summary.rows) * 2
                box = tuple(value * side for value, side in zip(box, sides, strict=True))
            boxes.append(box)
    return boxes


@pytest.mark.parametrize("regions_each", [1, 3])
def test_labels_at_the_upper_edge_do_not_cover_the_notice(made: Made, regions_each: int) -> None:
    """All findings positive, each with its regions in the upper left corner, where the notice stands."""
    corner = Region(points=((1.0, 1.0), (60.0, 1.0), (60.0, 40.0), (1.0, 1.0)), share=0.5)
    findings = tuple(
        finding.model_copy(update={"positive": True, "regions": (corner,) * regions_each})
        for finding in made.summary.findings
    )
    summary = made.summary.model_copy(update={"findings": findings})
    state = presentation_state(made.source, summary, made.bundle, WHEN)
    assert state is not None
    boxes = boxes_of(read(state), summary)
    assert len(boxes) > len(NAMES), "the notice, and a label for each finding"
    for position, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= summary.columns
        assert 0 <= top < bottom <= summary.rows
        for other in boxes[:position]:
            assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom


def test_no_words_lie_over_others(made: Made) -> None:
    boxes = boxes_of(read(made.objects["presentation-state"]), made.summary)
    for position, (left, top, right, bottom) in enumerate(boxes):
        assert 0 < left < right <= radiographs.COLUMNS
        assert 0 < top < bottom <= radiographs.ROWS
        for other in boxes[:position]:
            apart = left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
            assert apart, (boxes[position], other)


@pytest.mark.parametrize(
    "elements", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}]
)
def test_an_image_whose_low_values_are_white_is_shown_inverted(make: Make, elements: dict[str, Any]) -> None:
    """The shape of a presentation state replaces the image's own, so it has to repeat it."""
    made = make(radiographs.dicom(**elements))
    assert read(made.objects["presentation-state"]).PresentationLUTShape == "INVERSE"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_an_image_with_a_table_is_shown_through_it(
    make: Make, keyword: str, syntax: UID, tmp_path: Path
) -> None:
    """DCMTK draws the image under its presentation state, and the grey values are the table's."""
    curve = np.rint(4095 * (np.arange(4096) / 4095) ** 3)
    tables = [lut(0, curve, 12), lut(0, [0, 4095], 12)]
    image = radiographs.dataset(**PATIENT | {keyword: tables})
    del image.WindowCenter, image.WindowWidth
    image.file_meta.TransferSyntaxUID = syntax
    path, drawn = tmp_path / "image.dcm", tmp_path / "drawn.pgm"
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    made = make(path.read_bytes())
    state = written(made.objects["presentation-state"], tmp_path)
    check = dcmtk.run("dcmpschk", state)
    assert "Test passed" in check.stdout, check.stdout
    dcmtk.run("dcmp2pgm", "-p", state, path, drawn)
    greys = cv2.imread(str(drawn), cv2.IMREAD_GRAYSCALE)
    assert greys is not None
    assert np.abs(greys - 255 * curve[image.pixel_array] / 4095).max() < 2
    state_of = read(made.objects["presentation-state"])
    items = (
        state_of.ModalityLUTSequence
        if keyword == "ModalityLUTSequence"
        else state_of.SoftcopyVOILUTSequence[0].VOILUTSequence
    )
    assert len(items) == 1
    assert items[0].LUTDescriptor == [4096, 0, 12]
    assert items[0].LUTExplanation == "CURVE"


def test_segments_are_the_regions(made: Made) -> None:
    found = read(made.objects["segmentation"])
    located = [finding for finding in made.summary.findings if finding.regions]
    assert found.SegmentationType == "BINARY"
    assert [each.SegmentLabel for each in found.SegmentSequence] == [each.finding for each in located]
    masks = np.atleast_3d(found.pixel_array).reshape(-1, found.Rows, found.Columns)
    for mask, finding in zip(masks, located, strict=True):
        x, y = np.mean(finding.regions[0].points[:-1], axis=0)
        assert 0 < mask.mean() < 0.6
        assert (found.Rows, found.Columns) == (radiographs.ROWS, radiographs.COLUMNS)
        assert mask.sum() > 0, (x, y)


def test_dsrdump_shows_14_findings(made: Made, tmp_path: Path) -> None:
    said = dcmtk.run("dsrdump", "+Pc", "+Pl", written(made.objects["report"], tmp_path)).stdout
    found = re.findall(r'\(121071,DCM,"Finding"\)=\(([^,]+),([^,]+),', said)
    codes = {each.name: (each.code.value, each.code.scheme) for each in FINDINGS}
    coded = [codes[name] for name in CLINICAL_ORDER]
    assert found[: len(coded)] == coded  # the image's; those located come once more
    assert set(found[len(coded) :]) < set(coded)
    assert "Verification Flag   : UNVERIFIED" in said
    assert "Research use only" in said
    for finding in made.summary.findings:
        assert f'(122157,DCM,"Probability")="{round(finding.probability or 0, 6)}"' in said


def test_highdicom_reads_the_report_as_a_measurement_report(made: Made) -> None:
    content = content_of(made.objects["report"])
    groups = content.get_image_measurement_groups()
    assert len(groups) == len(NAMES)
    for group, name in zip(groups, CLINICAL_ORDER, strict=True):
        finding, told = FINDINGS[INDEX[name]], made.summary.findings[INDEX[name]]
        assert group.finding_type.value == finding.code.value
        probability, threshold = group.get_measurements()
        assert probability.name.value == "122157"
        assert probability.value == pytest.approx(told.probability, abs=1e-6)
        assert threshold.value == told.threshold
        (presence,) = group.get_qualitative_evaluations()
        assert presence.value.value == ("52101004" if told.positive else "2667000")
        assert group.source_images[0].referenced_sop_instance_uid == made.source.sop_instance_uid
    located = content.get_planar_roi_measurement_groups()
    ordered = [made.summary.findings[INDEX[name]] for name in CLINICAL_ORDER]
    regions = [region for finding in ordered for region in finding.regions]
    for group, region in zip(located, regions, strict=True):
        assert np.allclose(group.roi.value, region.points, atol=0.01)
        assert group.method.value == "130403"


def test_the_report_begins_with_a_summary_for_people(made: Made, tmp_path: Path) -> None:
    """As a viewer shows it: first the conclusion with the notice, parameters last in each group."""
    lines = dcmtk.run("dsr2html", written(made.objects["report"], tmp_path)).stdout
    body = re.sub(r"<[^>]*>", " ", lines[lines.index("<body") :])
    report = json.loads(diagnostic_report([made.source], [made.summary], [], made.bundle, when=WHEN).decode())
    expected = plain(report["conclusion"])
    assert expected.startswith("Research use only")
    text = re.sub(r"\s+", " ", html.unescape(body))
    assert expected in text
    assert text.index(expected) < text.index("Observer Type") < text.index("Measurement Group")
    group = text[text.index("Measurement Group") : text.index("Measurement Group", text.index("Tracking"))]
    places = [group.index(word) for word in ("sent", "Probability ", "Tracking Identifier", "Algorithm Name")]
    assert places == sorted(places), "Present or Absent, then the figures with their names, then parameters"


def test_the_report_points_at_the_overlay(made: Made) -> None:
    report, overlay = read(made.objects["report"]), made.objects["overlay"]
    evidence = {
        instance.ReferencedSOPInstanceUID
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {overlay.sop_instance_uid, made.source.sop_instance_uid}
    said = str(report)
    assert "130401" in said
    assert overlay.sop_instance_uid in said


def test_a_study_of_two_says_each_image_and_the_maximum(made: Made, second: Made, tmp_path: Path) -> None:
    report = study_report(
        [made.source, second.source], [made.summary, second.summary], [], made.bundle, when=WHEN
    )
    assert errors_of_dciodvfy(written(report, tmp_path)) == []
    content = content_of(report)
    groups = content.get_image_measurement_groups()
    assert len(groups) == 3 * len(NAMES)
    whole = {
        group.tracking_identifier: group for group in groups if group.tracking_identifier[:6] == "Study:"
    }
    for one, other in zip(made.summary.findings, second.summary.findings, strict=True):
        measurement = whole[f"Study: {one.finding}"].get_measurements()[0]
        assert measurement.value == pytest.approx(max(one.probability or 0, other.probability or 0), abs=1e-6)
        assert measurement.derivation.value == "56851009"
    assert "36643-5" in str(read(report))  # two views


def test_a_report_says_which_one_it_takes_the_place_of(made: Made, second: Made, tmp_path: Path) -> None:
    first = made.objects["report"]
    again = study_report(
        [made.source, second.source],
        [made.summary, second.summary],
        [],
        made.bundle,
        when=WHEN,
        revision=2,
        predecessor=first.reference,
    )
    assert errors_of_dciodvfy(written(again, tmp_path)) == []
    old, new = read(first), read(again)
    assert (old.InstanceNumber, new.InstanceNumber) == (1, 2)
    assert "PredecessorDocumentsSequence" not in old
    (before,) = new.PredecessorDocumentsSequence
    assert before.StudyInstanceUID == old.StudyInstanceUID
    (series,) = before.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == old.SeriesInstanceUID == new.SeriesInstanceUID
    (document,) = series.ReferencedSOPSequence
    assert (document.ReferencedSOPClassUID, document.ReferencedSOPInstanceUID) == (
        old.SOPClassUID,
        old.SOPInstanceUID,
    )


def test_a_refused_film_gets_a_report_that_says_why(made: Made, tmp_path: Path) -> None:
    refusal = Refusal(
        image=made.source.reference,
        slug="not-for-presentation",
        title="Not an image for presentation",
        detail="the image is FOR PROCESSING – send the one FOR PRESENTATION.",
    )
    report = refusal_report(made.source, refusal, made.bundle, WHEN)
    assert errors_of_dciodvfy(written(report, tmp_path)) == []
    said = dcmtk.run("dsrdump", "+Pl", written(report, tmp_path)).stdout
    assert "Not analysed (not-for-presentation)" in said
    assert "Not Attempted" in said
    assert "Probability" not in said
    assert "XR Unspecified body region Views" in said, "nobody said that it shows a chest"
    assert report.sop_instance_uid != made.objects["report"].sop_instance_uid


def test_a_finding_the_model_does_not_know_is_left_out_and_said_so(made: Made, tmp_path: Path) -> None:
    first, *others = made.summary.findings
    unknown = first.model_copy(
        update={"probability": None, "threshold": None, "positive": False, "scales": (), "regions": ()}
    )
    summary = made.summary.model_copy(update={"findings": (unknown, *others)})
    report = study_report([made.source], [summary], [], made.bundle, when=WHEN)
    content = content_of(report)
    assert len(content.get_image_measurement_groups()) == len(NAMES) - 1
    assert f"Not known to this model: {first.finding}".encode() in report.part10
    assert errors_of_dciodvfy(written(report, tmp_path)) == []


def test_the_order_is_named_in_the_report(make: Make, tmp_path: Path) -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "36643-5", "LN", "XR Chest 2 Views"
    request = pydicom.Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP-1", "SPS-1"
    request.RequestedProcedureDescription = "Chest in two views"
    request.RequestedProcedureCodeSequence = [code]
    made = make(
        radiographs.dicom(**PATIENT, RequestAttributesSequence=[request], ProcedureCodeSequence=[code])
    )
    for each in made.objects.values():
        assert read(each).ProcedureCodeSequence[0].CodeValue == "36643-5"
        assert errors_of_dciodvfy(written(each, tmp_path)) == [], each.kind
    (order,) = read(made.objects["report"]).ReferencedRequestSequence
    assert (order.RequestedProcedureID, order.AccessionNumber) == ("RP-1", "A-99")
    assert order.RequestedProcedureCodeSequence[0].CodeMeaning == "XR Chest 2 Views"


@pytest.mark.parametrize(
    "odd",
    [
        {"WindowCenter": ["1", "2"], "WindowWidth": ["0"], "VOILUTFunction": "X"},
        {"PixelSpacing": ["0", "0"], "ImagerPixelSpacing": "1e30", "PixelAspectRatio": ["2"]},
        {"PatientOrientation": ["L"], "PatientSex": "X", "PatientAge": "old"},
        {"InstanceNumber": ["1", "2"], "SeriesNumber": "-4", "StudyDate": "1999.1.1", "StudyTime": "noon"},
        {"SOPClassUID": "1.2.3", "Modality": "CR"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2", "NumberOfFrames": 1},
    ],
)
def test_an_odd_header_keeps_no_result_from_being_built(made: Made, odd: dict[str, Any]) -> None:
    with disable_value_validation():
        data = radiographs.dicom(**PATIENT | odd)
    source = read_source(source_header(data))
    options = Options(segmentation=True)
    summary, objects = image_results(source, made.reading, made.bundle, when=WHEN, options=options)
    objects.append(study_report([source], [summary], [], made.bundle, when=WHEN))
    assert {each.kind for each in objects} >= {"overlay", "report"}
    assert {str(read(each).StudyInstanceUID) for each in objects} == {source.study_instance_uid}


def test_times_are_on_the_images_clock(make: Make) -> None:
    made = make(radiographs.dicom(**PATIENT, TimezoneOffsetFromUTC="+0900"))
    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    report = read(study_report([made.source], [made.summary], [], made.bundle, when=noon))
    assert report.ContentTime == "210000"
    assert report.TimezoneOffsetFromUTC == "+0900"


def test_a_summary_survives_json(made: Made) -> None:
    said = made.summary.model_dump_json()
    assert ImageSummary.model_validate_json(said) == made.summary
    assert len(said) < 64 * 1024
    assert "Doe" not in said
    assert json.loads(said)["model_sha256"] == made.bundle.sha256


def test_regions_lie_where_the_heatmap_is_hot(made: Made) -> None:
    for finding in made.summary.findings:
        for region in finding.regions:
            points = np.array(region.points)
            assert (points >= 0).all()
            assert (points <= [radiographs.COLUMNS, radiographs.ROWS]).all()
            assert region.points[0] == region.points[-1]
            assert 0.1 <= region.share <= 1


def test_images_of_two_studies_are_no_report(made: Made, make: Make) -> None:
    other = make(radiographs.dicom(StudyInstanceUID="1.2.3"))
    with pytest.raises(ValueError, match="one study"):
        study_report([made.source, other.source], [made.summary, other.summary], [], made.bundle, when=WHEN)


@pytest.mark.parametrize("name", ["wg04_RG1_J2KI.dcm", "barre_CR-MONO1-10-chest_nopreamble"])
def test_real_films_give_sound_objects(make: Make, realdata: Path, tmp_path: Path, name: str) -> None:
    made = make((realdata / "dicom" / "cr_dx" / name).read_bytes())
    for each in made.objects.values():
        assert errors_of_dciodvfy(written(each, tmp_path)) == [], each.kind
    said = dcmtk.run("dcmpschk", written(made.objects["presentation-state"], tmp_path)).stdout
    assert "Test passed" in said, said
