"""Choice of a patient's earlier studies among a PACS's answers: compared again, whatever was asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from pydicom.dataset import Dataset

from cxrserve.archive.destination import DeliveryError, PriorsWanted
from cxrserve.archive.peers import PullServer
from cxrserve.imaging.dicom.dataset import text, texts
from cxrserve.imaging.foreign_errors import quiet

FIELDS: Final = ("PatientID", "IssuerOfPatientID", "StudyDate", "StudyTime", "ModalitiesInStudy")
# Of a DIMSE peer, whose entry in the rules names none.
PRIOR_MODALITIES: Final[tuple[str, ...]] = PullServer.model_fields["modalities"].default
_LOOKED_AT: Final = 5  # studies for each one that is wanted: of other parts of the body nothing is kept


def fetch_wanted(
    studies: Sequence[str],
    wanted: PriorsWanted,
    fetch: Callable[[str], tuple[bool, bool]],
    fetched: list[str],
    *,
    goes_on: Callable[[], bool] = lambda: True,
    ends_with: tuple[type[DeliveryError], ...] = (),
) -> None:
    """Fetch studies in turn until as many are here as are wanted.

    Args:
        studies: Study Instance UIDs, of which not all need hold a chest radiograph.
        fetch: fetches one study; whether any of its images was stored before, and whether any is now.
        fetched: gets the UID of each study of which something is new.
        goes_on: False where no more can be asked for.
        ends_with: errors after which no other study is tried.

    Raises:
        DeliveryError: a study could not be fetched, the first one; the others were tried.
    """
    first: DeliveryError | None = None
    found = 0
    for study in studies[: _LOOKED_AT * wanted.studies]:
        if found == wanted.studies or not goes_on():
            break
        try:
            known, new = fetch(study)
        except ends_with:
            raise
        except DeliveryError as error:
            first = first or error
            continue
        found += known or new
        if new:
            fetched.append(study)
    if first is not None:
        raise first


def newest_fitting(
    studies: Iterable[Dataset], wanted: PriorsWanted, modalities: Collection[str]
) -> list[str]:
    """Study Instance UIDs of the fitting ones among `studies`, the newest first, each once.

    Some PACS match a Patient ID in any case, or as a pattern: here it is compared as it stands. A study
    without a date counts as the oldest.
    """
    with quiet:
        fitting = [study for study in studies if _fits(study, wanted, modalities)]
        fitting.sort(key=lambda study: (text(study, "StudyDate"), text(study, "StudyTime")), reverse=True)
        return list(dict.fromkeys(text(study, "StudyInstanceUID") for study in fitting))


def _fits(study: Dataset, wanted: PriorsWanted, modalities: Collection[str]) -> bool:
    issuer, date = text(study, "IssuerOfPatientID"), text(study, "StudyDate")
    in_study = texts(study, "ModalitiesInStudy")
    return (
        text(study, "PatientID") == wanted.patient_id
        and (not issuer or not wanted.issuer or issuer == wanted.issuer)
        and text(study, "StudyInstanceUID") not in ("", wanted.study_instance_uid)
        and (not date or not wanted.study_date or date <= wanted.study_date)
        and (not in_study or any(modality in modalities for modality in in_study))
    )
