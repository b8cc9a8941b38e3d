"""The source image of a result: its cleaned header from a decode worker, read in the service."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.cleaning import character_set, cleaned
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.imaging.foreign_errors import reading
from cxrserve.reports.dicom.objects import Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One image's header.

    Attributes:
        header: the elements of `imaging.dicom.cleaning.RESULT_ELEMENTS` that the file had, each well formed.
        character_set: Specific Character Set that holds all its text, () for ASCII.
    """

    header: Dataset
    character_set: tuple[str, ...]

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return str(self.header.StudyInstanceUID)

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID."""
        return str(self.header.SeriesInstanceUID)

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return str(self.header.SOPInstanceUID)

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return str(self.header.SOPClassUID)

    @property
    def reference(self) -> Reference:
        """A reference to this image."""
        return Reference(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            series_instance_uid=self.series_instance_uid,
        )


def read_source(header: bytes) -> Source:
    """Read `header`, from `DecodePool.header`. It is cleaned again, because workers are not trusted.

    Raises:
        UnreadableImage: `header` cannot be read or lacks a UID.
    """
    with reading("the header"):
        dataset = dcmread(BytesIO(header))
        clean = cleaned(dataset)
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        if missing := [keyword for keyword in uids if not is_uid(str(clean.get(keyword, "")))]:
            raise UnreadableImage(
                f"{' and '.join(missing)} is missing or no UID (at most 64 digits and dots). "
                "Correct it at the sender."
            )
        declared = character_set(dataset)
        return Source(header=clean, character_set=declared)
