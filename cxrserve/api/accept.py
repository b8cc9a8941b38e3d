"""Content negotiation: the form of the answer that a client wants (RFC 9110, 12.5.1)."""

from __future__ import annotations

from typing import Final, Literal

from starlette.requests import Request

from cxrserve.multipart import DICOM_TYPE

AnswerForm = Literal["json", "dicom", "png", "fhir"]

PNG_TYPE: Final = "image/png"
FHIR_TYPE: Final = "application/fhir+json"
_FORMS: Final[dict[str, AnswerForm]] = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    PNG_TYPE: "png",
    "image/*": "png",
    FHIR_TYPE: "fhir",
}


def answer_form(request: Request, parameter: AnswerForm | None) -> AnswerForm:
    """The form that the client wants: by the parameter `accept`, else by the Accept header, else JSON.

    Of several forms in the header, the one with the largest weight counts, then a specific one before JSON.
    """
    if parameter is not None:
        return parameter
    best: tuple[float, bool] = (0.0, False)
    form: AnswerForm = "json"
    for media_range in request.headers.get("accept", "").split(","):
        candidate, weight = _parsed(media_range)
        if candidate is not None and (rank := (weight, candidate != "json")) > best:
            best, form = rank, candidate
    return form


def _parsed(media_range: str) -> tuple[AnswerForm | None, float]:
    """The form of a media range and its weight; takes time in proportion to its length."""
    media_type, *parts = (part.strip().lower() for part in media_range.split(";"))
    parameters = {
        name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in parts)
    }
    is_dicom = media_type == "multipart/related" and parameters.get("type") == DICOM_TYPE
    return "dicom" if is_dicom else _FORMS.get(media_type), _weight(parameters.get("q", "1"))


def _weight(text: str) -> float:
    """The weight of a media range, 0 to 1; 0 where it is none."""
    digits = text.replace(".", "", 1)
    return min(float(text), 1.0) if digits.isascii() and digits.isdigit() and len(text) <= 5 else 0.0
