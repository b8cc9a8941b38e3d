"""The codes of our reports as pydicom's `Code`. Those of the findings are in `cxrserve.findings`."""

from __future__ import annotations

from typing import Final

from pydicom.sr.coding import Code

from cxrserve import findings
from cxrserve.bundle.operating_point import Decision

PRIVATE_SCHEME: Final = "99CXRSERVE"
PRIVATE_SCHEME_UID: Final = "2.25.45738385725202087529805508502185585779"

PROBABILITY: Final = Code("122157", "DCM", "Probability")
THRESHOLD: Final = Code("122411", "DCM", "Threshold Value")
UNITY: Final = Code("1", "UCUM", "no units")
ENGLISH: Final = Code("en-US", "RFC5646", "English (United States)")
PRESENT: Final = Code("52101004", "SCT", "Present")
UNDECIDED: Final = Code("82334004", "SCT", "Indeterminate")
ABSENT: Final = Code("2667000", "SCT", "Absent")
COMMENT: Final = Code("121106", "DCM", "Comment")
CONCLUSION: Final = Code("121077", "DCM", "Conclusion")
MEASUREMENT_METHOD: Final = Code("370129005", "SCT", "Measurement Method")
SOURCE: Final = Code("260753009", "SCT", "Source")
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


def presence(decision: Decision | None, positive: bool) -> Code:
    """Present, absent, or undecided between a rule-out and a rule-in threshold.

    Args:
        decision: None in summaries of earlier versions, for which `positive` decides.
    """
    codes = {"present": PRESENT, "undecided": UNDECIDED, "absent": ABSENT}
    return codes[decision or ("present" if positive else "absent")]


def coded(code: findings.Code) -> Code:
    """`code` of `cxrserve.findings` as pydicom writes it."""
    return Code(code.value, code.scheme, code.meaning)


def procedure(analysed: int, refused: int) -> Code:
    """The procedure by the number of images. A refused image may show anything: no chest is claimed."""
    return ANY_VIEWS if refused else {1: SINGLE_VIEW, 2: TWO_VIEWS}.get(analysed, ANY_VIEWS)
