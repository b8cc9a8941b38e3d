"""The node: negotiation, callers, and C-STORE answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    JPEGExtended12Bit,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.events import Event
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from cxrserve.pacs.presentation_contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests import dcmtk
from tests.orthanc import free_port
from tests.pacs.conftest import new_chest
from tests.stations import Station, station

DX = DigitalXRayImageStorageForPresentation


@pytest.fixture(scope="module")
def reports_port() -> int:
    """Where the modality listens for reports of Storage Commitment."""
    return free_port()


@pytest.fixture(scope="module")
def strict(
    tiny_bundle: Path, reports_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """A station that only knows MODALITY, and CT_* from addresses that are not ours."""
    rules = {
        "callers": [
            {"ae_title": "MODALITY", "reports_to": {"host": "127.0.0.1", "port": reports_port}},
            {"ae_title": "QUIET", "addresses": ["127.0.0.0/8"]},
            {"ae_title": "CT_*", "addresses": ["10.1.2.0/24", "2001:db8::/32"]},
        ],
        "rules": [{"name": "chests", "match": {"body_part": ["CHEST"]}}],
    }
    with station(tiny_bundle, tmp_path_factory.mktemp("strict") / "archive", rules, "--no-http") as running:
        yield running


def associate(node: Station, *contexts: tuple[str, str], calling: str = "MODALITY") -> Association:
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = 10
    return entity.associate(
        "127.0.0.1",
        node.dicom_port,
        contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
        ae_title="CXRSERVE",
    )


def test_every_offer_is_accepted(strict: Station) -> None:
    offers = [(sop_class, syntax) for sop_class in STORAGE_CLASSES for syntax in TRANSFER_SYNTAXES]
    association = associate(strict, *offers)
    assert association.is_established
    accepted = [(each.abstract_syntax, each.transfer_syntax[0]) for each in association.accepted_contexts]
    assert accepted == offers
    association.release()


@pytest.mark.parametrize(
    ("sop_class", "syntax", "result"),
    [
        (DigitalXRayImageStorageForProcessing, ExplicitVRLittleEndian, 3),  # abstract syntax not supported
        (CTImageStorage, ExplicitVRLittleEndian, 3),
        ("1.2.3.4.5", ExplicitVRLittleEndian, 3),
        (DX, JPEGExtended12Bit, 4),  # transfer syntaxes not supported
        (DX, "1.2.840.10008.1.2.4.100", 4),  # MPEG2
    ],
)
def test_what_cannot_be_judged_is_refused_in_the_negotiation(
    strict: Station, sop_class: str, syntax: str, result: int
) -> None:
    association = associate(strict, (sop_class, syntax))
    assert [each.result for each in association.rejected_contexts] == [result]
    association.release() if association.is_established else association.abort()


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [
        ("STRANGER", "CXRSERVE", "Calling AE Title Not Recognized"),
        ("CT_1", "CXRSERVE", "Calling AE Title Not Recognized"),  # a title we know, from elsewhere
        ("MODALITY", "ANOTHER", "Called AE Title Not Recognized"),
    ],
)
def test_strangers_are_rejected_for_good(strict: Station, calling: str, called: str, reason: str) -> None:
    said = dcmtk.echoscu(strict.dicom_port, "-aet", calling, ae=called)
    assert "Rejected Permanent, Source: Service User" in said
    assert reason in said
    strict.said("association from .* rejected: (it calls the AE title|no rule names that caller)")


def send(node: Station, dataset: Dataset, **command: str) -> int:
    """C-STORE with a command of its own words; the status."""
    association = associate(node, (command.get("sop_class", DX), ExplicitVRLittleEndian))
    assert association.is_established
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = command.get("sop_class", DX)
    request.AffectedSOPInstanceUID = command.get("sop_instance", dataset.SOPInstanceUID)
    request.DataSet = BytesIO(encode(dataset, False, True) or b"")
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    (context,) = association.accepted_contexts
    association.dimse.send_msg(request, context.context_id or 1)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert answer is not None
    return int(answer.Status)  # type: ignore[arg-type]


def test_the_command_and_the_data_set_must_agree(strict: Station, tmp_path: Path) -> None:
    dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
    assert send(strict, dataset, sop_instance=generate_uid()) == 0xA900
    assert send(strict, dataset, sop_class=SecondaryCaptureImageStorage) == 0xA900
    assert send(strict, dataset) == 0x0000


@pytest.mark.parametrize("uid", ["1.2.3/4", "1.2.abc", ".1.2", "../../etc/passwd"])
def test_a_uid_that_is_none_is_refused(strict: Station, uid: str, tmp_path: Path) -> None:
    dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
    with disable_value_validation():
        dataset.SOPInstanceUID = UID(uid)
        status = send(strict, dataset, sop_instance=uid)
    assert status in (0xA900, 0xC000)


def test_a_uid_with_leading_zeros_is_stored(strict: Station, tmp_path: Path) -> None:
    dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
    uid = f"1.2.003.{generate_uid()[-12:]}"
    with disable_value_validation():
        dataset.SOPInstanceUID = dataset.StudyInstanceUID = dataset.SeriesInstanceUID = UID(uid)
        status = send(strict, dataset, sop_instance=uid)
    assert status == 0x0000


def test_a_refusal_names_the_element_and_the_remedy(strict: Station, tmp_path: Path) -> None:
    dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
    with disable_value_validation():
        dataset.StudyInstanceUID = UID("1." + "2" * 64)
        assert send(strict, dataset) == 0xC000
    strict.said(r"status=C000 .*detail=\"StudyInstanceUID cannot be read.*Correct it at the sender")
    knee = dcmread(new_chest(tmp_path / "knee.dcm", BodyPartExamined="KNEE"))
    assert send(strict, knee) == 0x0124
    strict.said(r"status=0124 .*detail=\"no rule takes this object.*Check `match` in the rules")


def test_every_rejected_association_is_logged_and_counted(node: Station) -> None:
    """An administrator must see why nothing arrives."""
    dcmtk.echoscu(node.dicom_port, ae="WRONG")
    node.said(
        r"association from ECHOSCU at 127.0.0.1 rejected: it calls the AE title 'WRONG', but this node is"
    )
    association = associate(node, (CTImageStorage, ExplicitVRLittleEndian))
    association.release() if association.is_established else association.abort()
    node.said(
        r"no presentation context that this node accepts. Rejected: CT Image Storage \(SOP class not supp"
    )
    association = associate(node, (DX, JPEGExtended12Bit))
    association.release() if association.is_established else association.abort()
    node.said(r"Rejected: Digital X-Ray.*transfer syntax not supported: JPEG Extended")
    association = associate(node, (DX, ExplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian))
    association.release()
    node.said(r"presentation contexts rejected: CT Image Storage.*The other contexts are accepted")
    metrics = httpx.get(f"{node.url}/metrics").text
    counts = {
        reason: float(count)
        for reason, count in re.findall(
            r'cxrserve_dicom_rejections_total\{reason="([a-z-]+)"\} (\S+)', metrics
        )
    }
    assert counts["called-ae-title"] >= 1
    assert counts["no-presentation-context"] >= 2
    assert counts["some-presentation-contexts"] >= 1


def test_the_same_uid_with_other_content_is_a_duplicate(strict: Station, tmp_path: Path) -> None:
    dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
    assert send(strict, dataset) == 0x0000
    assert send(strict, dataset) == 0x0000
    dataset.PixelData = bytes(len(dataset.PixelData))
    assert send(strict, dataset) == 0x0111


def test_what_no_rule_takes_is_refused_as_configured(strict: Station, tmp_path: Path) -> None:
    assert send(strict, dcmread(new_chest(tmp_path / "knee.dcm", BodyPartExamined="KNEE"))) == 0x0124


def test_one_line_is_written_and_no_patient_stands_in_it(strict: Station, tmp_path: Path) -> None:
    before = len(strict.lines)
    dataset = dcmread(new_chest(tmp_path / "chest.dcm", PatientName="Secret^Name", PatientID="SECRET"))
    assert send(strict, dataset, sop_instance=generate_uid()) == 0xA900
    time.sleep(0.3)
    lines = [line for line in strict.lines[before:] if "cxrserve.audit" in line]
    assert len(lines) == 1
    assert "outcome=not-the-announced-object" in lines[0]
    assert "SECRET" not in "\n".join(strict.lines).upper()


def commit(node: Station, references: list[tuple[str, str]], calling: str = "MODALITY") -> tuple[str, int]:
    """N-ACTION; the transaction's UID and the status."""
    information = Dataset()
    information.TransactionUID = generate_uid()
    information.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        information.ReferencedSOPSequence.append(item)
    association = associate(node, (StorageCommitmentPushModel, ExplicitVRLittleEndian), calling=calling)
    status, _ = association.send_n_action(
        information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    association.release()
    return str(information.TransactionUID), int(status.Status)


def test_commitment_is_reported_even_to_a_modality_that_was_away(
    strict: Station, reports_port: int, tmp_path: Path
) -> None:
    dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
    assert send(strict, dataset) == 0x0000
    kept, unknown = (str(DX), str(dataset.SOPInstanceUID)), (str(DX), generate_uid())
    first, status = commit(strict, [kept])
    assert status == 0x0000
    second, status = commit(strict, [kept, unknown])
    assert status == 0x0000
    time.sleep(1)  # the first tries find nobody

    reports: dict[str, tuple[int, Dataset]] = {}

    def on_report(event: Event) -> tuple[int, None]:
        information = event.event_information
        reports[str(information.TransactionUID)] = (event.event_type or 0, information)
        return 0x0000, None

    entity = AE("MODALITY")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", reports_port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]
    )
    assert server is not None
    try:
        until = time.monotonic() + 30
        while not {first, second} <= reports.keys():
            assert time.monotonic() < until, strict.lines[-10:]
            time.sleep(0.05)
    finally:
        server.shutdown()
    event_type, information = reports[first]
    assert event_type == 1
    assert [str(each.ReferencedSOPInstanceUID) for each in information.ReferencedSOPSequence] == [kept[1]]
    event_type, information = reports[second]
    assert event_type == 2
    (failed,) = information.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (unknown[1], 0x0112)


def test_commitment_is_refused_where_nobody_can_be_told(strict: Station) -> None:
    assert commit(strict, [(DX, generate_uid())], calling="QUIET")[1] == 0x0124


def test_nonsense_for_a_commitment_is_refused(strict: Station) -> None:
    assert commit(strict, [])[1] == 0x0115
    assert commit(strict, [(DX, "1.2")] * 10_001)[1] == 0x0115


def test_it_stops_in_order_while_an_association_is_open(tiny_bundle: Path, tmp_path: Path) -> None:
    with station(tiny_bundle, tmp_path / "archive", {"rules": [{"name": "all"}]}) as running:
        association = associate(running, (DX, ExplicitVRLittleEndian), calling="ANY")
        dataset = dcmread(new_chest(tmp_path / "chest.dcm"))
        running.process.terminate()
        time.sleep(0.5)
        assert association.send_c_store(dataset).Status == 0x0000  # what was begun may end
        association.release()
        assert running.process.wait(20) == 0


@pytest.mark.parametrize("arguments", [(), ("--no-http",)])
def test_a_second_signal_while_it_stops_changes_nothing(
    tiny_bundle: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with station(tiny_bundle, tmp_path / "archive", {"rules": [{"name": "all"}]}, *arguments) as running:
        association = associate(running, (DX, ExplicitVRLittleEndian), calling="SLOW")
        for _ in range(3):
            running.process.terminate()
            time.sleep(0.02)
        association.release()
        assert running.process.wait(20) == 0
        assert "Traceback" not in "\n".join(running.lines)


def test_open_associations_are_told(node: Station) -> None:
    def told(number: int) -> None:
        until = time.monotonic() + 20
        while f"\ncxrserve_dicom_associations {number}.0\n" not in httpx.get(f"{node.url}/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.05)

    told(0)
    association = associate(node, (DX, ExplicitVRLittleEndian))
    told(1)
    association.release()
    told(0)


def test_two_nodes_on_one_port_say_so(strict: Station, tiny_bundle: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="cannot listen on"),
        station(
            tiny_bundle, tmp_path / "archive", {"rules": [{"name": "all"}]}, dicom_port=strict.dicom_port
        ),
    ):
        pass
