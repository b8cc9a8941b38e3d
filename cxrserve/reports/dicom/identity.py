"""UIDs and the device's identity: the same for the same work, so that work done twice gives one result.

A UID is 2.25 and a UUID (PS3.5 B.2), never random: that of a series, a finding or a device is made from its
subject, and that of an object from its own bytes. So no two objects that differ, in their time or in the
last digit of a probability, ever share a SOP Instance UID.
"""

from __future__ import annotations

import uuid
from hashlib import sha256
from typing import Final, get_args

from pydicom.dataset import Dataset

from cxrserve import __version__
from cxrserve.bundle.contract import Bundle
from cxrserve.imaging.dicom.dataset import text, texts
from cxrserve.reports.dicom.objects import ImageSummary, ObjectKind

MANUFACTURER: Final = "cxrserve"
IMPLEMENTATION_CLASS_UID: Final = "2.25.22154387595639598516570461512055017007"
IMPLEMENTATION_VERSION: Final = "CXRSERVE"
PENDING_UID: Final = "2.25.0"  # in the place of the SOP Instance UID, until the other bytes are known
UID_NAMESPACE: Final = uuid.UUID("aa02f523-7632-5ece-a0ad-b1bdedde5faf")


def made_uid(*about: str) -> str:
    """The UID for `about`, in this order, under this version of the program."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, chr(10).join((__version__, *about))).int}"


def object_uid(part10: bytes) -> str:
    """SOP Instance UID of the object that is `part10` while its own UID is `PENDING_UID`."""
    return made_uid("object", sha256(part10).hexdigest())


def series_uid(kind: str, bundle: Bundle, study_instance_uid: str) -> str:
    """Series Instance UID: one series for each kind of object in a study."""
    return made_uid("series", kind, bundle.sha256, study_instance_uid)


def device_uid(bundle: Bundle) -> str:
    """Device UID: a new one after each training, as IHE AIR requires, and for each version of a site file."""
    about = bundle.sha256 if bundle.site is None else f"{bundle.sha256} {bundle.site.sha256}"
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, 'device ' + about).int}"


def tracking(
    bundle: Bundle, summary: ImageSummary, finding: str, number: int | None = None
) -> tuple[str, str]:
    """Identifier and UID of one finding of one image, or of its region `number`; the same in every object."""
    suffix = "" if number is None else f" region {number + 1}"
    return f"{finding}{suffix}"[:64], made_uid(
        "tracking", bundle.sha256, summary.image.sop_instance_uid, finding, str(number)
    )


def study_tracking(bundle: Bundle, study_instance_uid: str, finding: str) -> tuple[str, str]:
    """Identifier and UID of one finding of a whole study."""
    return f"Study: {finding}"[:64], made_uid("tracking", bundle.sha256, study_instance_uid, finding)


def software_versions(bundle: Bundle) -> list[str]:
    """Software Versions (0018,1020): this program, the model, and the site file where one is adopted."""
    site = [] if bundle.site is None else [str(bundle.site)[:64]]
    return [f"cxrserve {__version__}"[:64], f"{bundle.contract.name} {bundle.contract.version}"[:64], *site]


def is_result(header: Dataset, bundle: Bundle) -> bool:
    """True where `header` is that of a result: by its equipment, from any station, or by its series.

    A PACS that routes all it stores sends results back too, and a result of a result would have no end.
    Phantoms come from the same manufacturer, but no version of this program is named in them.
    """
    if text(header, "Manufacturer") == MANUFACTURER:
        return any(version.startswith("cxrserve ") for version in texts(header, "SoftwareVersions"))
    study, series = text(header, "StudyInstanceUID"), text(header, "SeriesInstanceUID")
    return series in {series_uid(kind, bundle, study) for kind in get_args(ObjectKind)}


def plain(text: str) -> str:
    """`text` in ASCII, which fits the character set of any patient."""
    spelt = text.translate(_SPELT)
    return spelt.encode("ascii", "replace").decode("ascii")


_SPELT: Final = str.maketrans(
    {
        "×": "x",
        "–": "-",
        "—": "-",
        "−": "-",
        "·": "-",
        "≥": ">=",
        "≤": "<=",
        "σ": "sigma",
        "’": "'",
        "…": "...",
    }
)
