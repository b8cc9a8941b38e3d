"""Presentation contexts of the node: storage of radiographs, in all transfer syntaxes that can be decoded."""

from __future__ import annotations

from typing import Final

from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    SecondaryCaptureImageStorage,
)
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from cxrserve import __version__
from cxrserve.imaging.dicom.codecs import CODECS
from cxrserve.imaging.dicom.pixels import NATIVE
from cxrserve.reports.dicom import identity

IMPLEMENTATION_CLASS_UID: Final = identity.IMPLEMENTATION_CLASS_UID  # as in the files that we write
IMPLEMENTATION_VERSION_NAME: Final = f"CXRSERVE_{__version__}"[:16]  # PS3.7 D.3.3.2.2

# Digital X-Ray FOR PROCESSING is not among them: raw detector data are refused in the negotiation.
STORAGE_CLASSES: Final = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
# JPEG Extended is left out: only its 8-bit process can be decoded. A peer then converts the image itself.
TRANSFER_SYNTAXES: Final[tuple[UID, ...]] = tuple(
    sorted(NATIVE) + sorted(syntax for syntax in CODECS if syntax != JPEGExtended12Bit)
)
_UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def offered_contexts() -> list[PresentationContext]:
    """The presentation contexts that the node accepts; every one of them as SCP."""
    return [
        build_context(Verification, list(_UNCOMPRESSED)),
        build_context(StorageCommitmentPushModel, list(_UNCOMPRESSED)),
        *(build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in STORAGE_CLASSES),
    ]
