"""Our codes as pydicom and highdicom write them. The findings' own stand in `cxrserve.findings`."""

from __future__ import annotations

from typing import Final

from pydicom.sr.coding import Code

from cxrserve import findings

PRIVATE_SCHEME: Final = "99CXRSERVE"
PRIVATE_SCHEME_UID: Final = "2.25.45738385725202087529805508502185585779"

PROBABILITY: Final = Code("122157", "DCM", "Probability")
THRESHOLD: Final = Code("122411", "DCM", "Threshold Value")
UNITY: Final = Code("1", "UCUM", "no units")
PRESENT: Final = Code("52101004", "SCT", "Present")
ABSENT: Final = Code("2667000", "SCT", "Absent")
COMMENT: Final = Code("121106", "DCM", "Comment")
GRAD_CAM: Final = Code("130403", "DCM", "Gradient-weighted class activation")
VISUAL_EXPLANATION: Final = Code("130401", "DCM", "Visual explanation")
SUMMARY_OF_ANALYSES: Final = Code("111065", "DCM", "Summary of Analyses")
NOT_ATTEMPTED: Final = Code("111225", "DCM", "Not Attempted")
MAXIMUM: Final = Code("56851009", "SCT", "Maximum")
MEAN: Final = Code("373098007", "SCT", "Mean")
# The imaging procedure, by the number of views; the last where that, or the body region, is not known.
SINGLE_VIEW: Final = Code("36554-4", "LN", "XR Chest Single view")
TWO_VIEWS: Final = Code("36643-5", "LN", "XR Chest 2 Views")
ANY_VIEWS: Final = Code("43468-8", "LN", "XR Unspecified body region Views")


def coded(code: findings.Code) -> Code:
    """`code` of `cxrserve.findings` as pydicom writes it."""
    return Code(code.value, code.scheme, code.meaning)


def procedure(judged: int, refused: int) -> Code:
    """What was done, by the number of images; one that was refused may show anything: no chest is claimed."""
    return ANY_VIEWS if refused else {1: SINGLE_VIEW, 2: TWO_VIEWS}.get(judged, ANY_VIEWS)
