"""The error tree. Each class carries its HTTP status, its DICOM status and its problem type.

CxrserveError
├── RequestError               400  the request itself is malformed
│   ├── TooLarge               413  more bytes, parts or pixels than the settings allow
│   ├── UnsupportedFormat      415  neither DICOM nor JPEG nor PNG
│   ├── Unauthorized           401  no bearer token, or a wrong one
│   ├── Forbidden              403  patient data is not given out as this service is set up
│   ├── UnsupportedMediaType   415  a Content-Type or Content-Encoding that is not taken
│   ├── NotAcceptable          406  an answer in a form that this file cannot have
│   └── RequestTimeout         408  the body did not arrive in time
├── ImageError                 422  the file was recognised, but holds no radiograph that can be judged
│   ├── UnreadableImage             damaged, truncated, or its pixels contradict its header
│   ├── UnsupportedImage            sound, but of a kind that is not decoded (12-bit JPEG, several frames)
│   ├── NotAChestRadiograph         another modality, body part or object; no contrast at all
│   └── NotForPresentation          raw detector data (FOR PROCESSING), no tone curve applied
├── Busy                       503  try again after `retry_after_s`
│   ├── NotReady
│   ├── EngineLost                  a device failed for good: only a new start helps
│   ├── Overloaded                  as many inside as may be
│   │   └── LineTooLong             an image that came now would wait too long
│   └── OutOfResources              the archive cannot keep more now
├── DeadlineExceeded           504  the answer was not ready in time; the work was dropped
└── ConfigurationError         500  found at start, before the first request
    ├── BundleError                 the model's contract does not hold; both sides are shown
    └── EngineError                 no engine, or one that does not run here

A detail says what was wrong, with which value, and what to do. It never holds patient data: not the
file's name, no text from its elements but numbers, UIDs of standard classes, and coded values checked
against a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class CxrserveError(Exception):
    """Base of all errors this project raises for its users.

    Class attributes:
        http_status: the HTTP status code (RFC 9110).
        dimse_status: the C-STORE status (PS3.4 Table B.2-1).
        slug: last part of the RFC 9457 problem type.
        title: short, the same for every occurrence.
    """

    http_status: ClassVar[int] = 500
    dimse_status: ClassVar[int] = 0x0110  # Processing failure
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RequestError(CxrserveError):
    """The request is malformed: a wrong parameter, a missing file, a broken multipart body."""

    http_status = 400
    dimse_status = 0xC000  # Cannot understand
    slug = "bad-request"
    title = "The request cannot be understood"


class TooLarge(RequestError):
    """More bytes, parts or pixels than the settings allow."""

    http_status = 413
    dimse_status = 0xA700  # Refused: out of resources
    slug = "too-large"
    title = "Larger than this service takes"


class UnsupportedFormat(RequestError):
    """Neither DICOM nor JPEG nor PNG."""

    http_status = 415
    slug = "unsupported-format"
    title = "Not a DICOM, JPEG or PNG file"


class UnsupportedMediaType(RequestError):
    """The request's Content-Type or Content-Encoding is not taken; `headers` name what is."""

    http_status = 415
    slug = "unsupported-media-type"
    title = "This kind of body is not taken"

    def __init__(self, detail: str, *, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class NotAcceptable(RequestError):
    """The answer was asked for in a form that this file cannot have."""

    http_status = 406
    slug = "not-acceptable"
    title = "No such answer to this file"


class Unauthorized(RequestError):
    """The request carries no bearer token, or a wrong one; `headers` name the way."""

    http_status = 401
    dimse_status = 0x0124  # Refused: not authorized
    slug = "unauthorized"
    title = "A token is needed"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="cxrserve"'}  # RFC 6750, 3


class Forbidden(RequestError):
    """Patient data is not given out as this service is set up."""

    http_status = 403
    dimse_status = 0x0124
    slug = "forbidden"
    title = "Not without a token"


class RequestTimeout(RequestError):
    """The body did not arrive in time."""

    http_status = 408
    slug = "request-timeout"
    title = "The upload took too long"


class ImageError(CxrserveError):
    """The file's format was recognised, but it holds no radiograph that can be judged."""

    http_status = 422
    dimse_status = 0xC000
    slug = "image-refused"
    title = "The image cannot be judged"


class UnreadableImage(ImageError):
    """Damaged, truncated, or its pixels contradict its header."""

    slug = "unreadable-image"
    title = "The image cannot be read"


class DecoderFailed(UnreadableImage):
    """The decoder was ended or broke down, as it also may for a sound image on a machine in need.

    To a caller the image is unreadable; work that can wait tries again before it believes that.
    """


class UnsupportedImage(ImageError):
    """A sound file of a kind that is not decoded here."""

    slug = "unsupported-image"
    title = "This kind of image is not supported"


class NotAChestRadiograph(ImageError):
    """Another modality, another body part, another kind of object, or nothing to see at all."""

    dimse_status = 0xA900  # Data set does not match SOP class
    slug = "not-a-chest-radiograph"
    title = "Not a chest radiograph"


class NotForPresentation(ImageError):
    """Raw detector data: Presentation Intent Type is FOR PROCESSING (PS3.3 C.8.11.1.1.1)."""

    slug = "not-for-presentation"
    title = "Not an image for presentation"


class Busy(CxrserveError):
    """Try again later; `retry_after_s` says when."""

    http_status = 503
    dimse_status = 0xA700
    slug = "busy"
    title = "The service cannot take this now"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NotReady(Busy):
    """The bundle is still being verified or the engines built."""

    slug = "not-ready"
    title = "The service is starting"


class EngineLost(Busy):
    """The device that computes has failed for good: the service ends, and starts anew where it is watched."""

    slug = "engine-lost"
    title = "The service must start again"


class Overloaded(Busy):
    """As many requests are waiting as the settings allow."""

    slug = "overloaded"
    title = "The service is at its limit"


class LineTooLong(Overloaded):
    """An image that came now would wait longer for the engines than the settings allow."""

    slug = "line-too-long"
    title = "The line for the engines is too long"


class OutOfResources(Busy):
    """The archive cannot keep the object now: disk full or read-only, a limit reached, database locked."""

    slug = "out-of-resources"
    title = "The archive cannot keep more now"


class DeadlineExceeded(CxrserveError):
    """The answer was not ready in time."""

    http_status = 504
    dimse_status = 0xA700
    slug = "deadline-exceeded"
    title = "The answer was not ready in time"


class ConfigurationError(CxrserveError):
    """Settings that cannot work; found at start."""

    slug = "configuration-error"
    title = "The service is not set up rightly"


class BundleError(ConfigurationError):
    """The bundle's contract does not hold."""

    slug = "bundle-error"
    title = "The model bundle is refused"


class EngineError(ConfigurationError):
    """No engine, or one that does not run on this machine."""

    slug = "engine-error"
    title = "The inference engine cannot be used"
