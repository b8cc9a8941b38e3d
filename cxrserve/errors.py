"""The error tree. Each class carries its HTTP status, its DICOM status and its problem type.

CxrserveError
├── RequestError               400  the request itself is malformed
│   ├── TooLarge               413  more bytes, parts or pixels than the settings allow
│   ├── UnsupportedFormat      415  neither DICOM nor JPEG nor PNG
│   ├── UnsupportedMediaType   415  a Content-Type or Content-Encoding that is not supported
│   ├── NotAcceptable          406  a response format that is not available for this file
│   ├── Unauthorized           401  no bearer token, or a wrong one
│   │   └── LoginFailed             the identity provider did not confirm who the user is
│   ├── Forbidden              403  the settings do not allow patient data to be sent
│   ├── ScopeMissing           403  the client's token does not allow such requests
│   ├── UploadGone             410  an earlier upload that a request names is not held any more
│   └── RequestTimeout         408  the body did not arrive in time
├── ImageError                 422  the file was recognised, but holds no radiograph that can be analysed
│   ├── UnreadableImage             damaged, truncated, or its pixels contradict its header
│   │   ├── DecoderFailed           the decoder process was killed or crashed
│   │   └── _Mismatch               (pacs) a received object contradicts its C-STORE request
│   ├── UnsupportedImage            sound, but of a kind that is not decoded (12-bit JPEG, several frames)
│   ├── NotAChestRadiograph         another modality, body part or object; no contrast at all
│   ├── TurnedImage                 on its side or upside down, by the film check
│   ├── InvertedImage               black and white exchanged, by the film check
│   ├── ViewNotCovered              a view that the bundle was not trained on, by the film check
│   └── NotForPresentation          raw detector data (FOR PROCESSING), no tone curve applied
├── Busy                       503  try again after `retry_after_s`
│   ├── NotReady                    the service is starting
│   ├── Stopping                    the service is stopping
│   ├── EngineLost                  a device failed permanently: only a restart helps
│   ├── IdentityProviderUnavailable  tokens cannot be checked now
│   ├── Overloaded                  the maximum number of requests or images is inside
│   │   └── QueueTooLong            a new image would wait too long
│   └── OutOfResources              the archive cannot store more now
├── DeadlineExceeded           504  the answer was not ready in time; the work was dropped
├── ConfigurationError         500  found at start, before the first request
│   ├── BundleError                 the bundle contradicts its contract; the message shows both values
│   ├── EngineError                 no engine, or one that does not run here
│   ├── RulesError                  (archive) the routing rules cannot be used
│   ├── DatasetError                (training) a data set cannot be used
│   └── ClusterError                (bulk) the Ray cluster cannot be used, or could not read all parts
├── DeliveryError              502  (archive) a destination did not accept a result
│   ├── PullError               (archive) no server of the rules has the study, or gives it
│   ├── ObjectTooLarge          (pacs) a server sends an object with more bytes than allowed
│   └── _NotArrived             (pacs) a peer reports an image as sent that has not come
├── DamagedObject              500  (archive) a stored file is missing or differs from its hash
├── ObjectExpired              410  (archive) a stored file was deleted at the end of its retention time
└── RuleGone                   500  (archive) the rule that an image matched was removed

A detail says what was wrong, with which value, and what to do. It never holds patient data: no file
name, and no text from the file except numbers, UIDs of standard classes, and coded values checked against
a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cxrserve import dicom_status


class CxrserveError(Exception):
    """Base of all errors this project raises for its users.

    Class attributes:
        http_status: the HTTP status code (RFC 9110).
        dimse_status: the C-STORE status (PS3.4 Table B.2-1).
        slug: last part of the RFC 9457 problem type.
        title: short, the same for every occurrence.
    """

    http_status: ClassVar[int] = 500
    dimse_status: ClassVar[int] = dicom_status.PROCESSING_FAILURE
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RequestError(CxrserveError):
    """The request is malformed: a wrong parameter, a missing file, a broken multipart body."""

    http_status = 400
    dimse_status = dicom_status.CANNOT_UNDERSTAND
    slug = "bad-request"
    title = "The request cannot be understood"


class TooLarge(RequestError):
    """More bytes, parts or pixels than the settings allow."""

    http_status = 413
    dimse_status = dicom_status.OUT_OF_RESOURCES
    slug = "too-large"
    title = "Larger than this service accepts"


class UnsupportedFormat(RequestError):
    """Neither DICOM nor JPEG nor PNG."""

    http_status = 415
    slug = "unsupported-format"
    title = "Not a DICOM, JPEG or PNG file"


class UnsupportedMediaType(RequestError):
    """The request's Content-Type or Content-Encoding is not supported; `headers` name those that are."""

    http_status = 415
    slug = "unsupported-media-type"
    title = "This kind of body is not supported"

    def __init__(self, detail: str, *, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class NotAcceptable(RequestError):
    """The requested response format is not available for this file."""

    http_status = 406
    slug = "not-acceptable"
    title = "This response format is not available for this file"


class UploadGone(RequestError):
    """The earlier upload that the request names is not held, or no longer: send the file."""

    http_status = 410
    slug = "upload-gone"
    title = "The earlier upload is not held any more"


class Unauthorized(RequestError):
    """The request has no bearer token, or a wrong one; `headers` name the scheme."""

    http_status = 401
    dimse_status = dicom_status.NOT_AUTHORIZED
    slug = "unauthorized"
    title = "A token is needed"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="cxrserve"'}  # RFC 6750, 3


class LoginFailed(Unauthorized):
    """A sign-in at the identity provider that did not succeed."""

    slug = "login-failed"
    title = "The sign-in failed"


class Forbidden(RequestError):
    """The settings of this service do not allow such a request without a token."""

    http_status = 403
    dimse_status = dicom_status.NOT_AUTHORIZED
    slug = "forbidden"
    title = "This request needs a token"


class ScopeMissing(RequestError):
    """The client's token is right, but does not allow such requests."""

    http_status = 403
    dimse_status = dicom_status.NOT_AUTHORIZED
    slug = "scope-missing"
    title = "The token does not allow this request"


class RequestTimeout(RequestError):
    """The body did not arrive in time."""

    http_status = 408
    slug = "request-timeout"
    title = "The upload took too long"


class ImageError(CxrserveError):
    """The file's format was recognised, but it holds no radiograph that can be analysed."""

    http_status = 422
    dimse_status = dicom_status.CANNOT_UNDERSTAND
    slug = "image-refused"
    title = "The image cannot be analysed"


class UnreadableImage(ImageError):
    """Damaged, truncated, or its pixels contradict its header."""

    slug = "unreadable-image"
    title = "The image cannot be read"


class DecoderFailed(UnreadableImage):
    """The decoder process was killed or crashed, which can happen for a sound image on an overloaded machine.

    To a client the image is unreadable; background work tries again several times first.
    """


class UnsupportedImage(ImageError):
    """A sound file of a kind that is not decoded here."""

    slug = "unsupported-image"
    title = "This kind of image is not supported"


class NotAChestRadiograph(ImageError):
    """Another modality, body part or kind of object, a picture in colour, noise, or nothing to see at all.

    Raised by the header's word (`imaging/dicom/acceptance.py`), the size (`imaging/limits.py`), colour
    (`imaging/grey.py`), the pixels (`imaging/profiles.py`, `imaging/content.py`), and the film check
    (`film_check/decision.py`).
    """

    dimse_status = dicom_status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    slug = "not-a-chest-radiograph"
    title = "Not a chest radiograph"


class TurnedImage(ImageError):
    """The radiograph lies on its side or upside down."""

    slug = "turned"
    title = "The radiograph is not upright"


class InvertedImage(ImageError):
    """Black and white are exchanged."""

    slug = "inverted"
    title = "The radiograph is inverted"


class ViewNotCovered(ImageError):
    """A view that the bundle's networks were not trained on."""

    slug = "view-not-covered"
    title = "The bundle does not cover this view"


class NotForPresentation(ImageError):
    """Raw detector data: Presentation Intent Type is FOR PROCESSING (PS3.3 C.8.11.1.1.1)."""

    slug = "not-for-presentation"
    title = "Not an image for presentation"


class Busy(CxrserveError):
    """Try again later; `retry_after_s` says when."""

    http_status = 503
    dimse_status = dicom_status.OUT_OF_RESOURCES
    slug = "busy"
    title = "The service cannot accept this now"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NotReady(Busy):
    """The service is starting: the bundle is being verified or the engines are being built."""

    slug = "not-ready"
    title = "The service is starting"


class Stopping(Busy):
    """The service is stopping and accepts no more work."""

    slug = "stopping"
    title = "The service is stopping"


class EngineLost(Busy):
    """A device failed permanently: the service ends, and its supervisor must start it again."""

    slug = "engine-lost"
    title = "The service must be restarted"


class IdentityProviderUnavailable(Busy):
    """Tokens of single sign-on cannot be checked: the identity provider does not answer."""

    slug = "identity-provider-unavailable"
    title = "The identity provider cannot be reached"


class Overloaded(Busy):
    """The maximum number of requests is inside."""

    slug = "overloaded"
    title = "The service is at its limit"


class QueueTooLong(Overloaded):
    """A new image would wait longer for the engines than the settings allow."""

    slug = "queue-too-long"
    title = "The queue for the engines is too long"


class OutOfResources(Busy):
    """The archive cannot store the object now: disk full or read-only, a limit reached, database locked."""

    slug = "out-of-resources"
    title = "The archive cannot store more now"


class DeadlineExceeded(CxrserveError):
    """The answer was not ready in time."""

    http_status = 504
    dimse_status = dicom_status.OUT_OF_RESOURCES
    slug = "deadline-exceeded"
    title = "The answer was not ready in time"


class ConfigurationError(CxrserveError):
    """Settings that cannot work; found at start."""

    slug = "configuration-error"
    title = "The service is not configured correctly"


class BundleError(ConfigurationError):
    """The bundle contradicts its contract."""

    slug = "bundle-error"
    title = "The model bundle is refused"


class EngineError(ConfigurationError):
    """No engine, or one that does not run on this machine."""

    slug = "engine-error"
    title = "The inference engine cannot be used"
