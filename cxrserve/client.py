"""A typed client of the HTTP API: `Client` for programs that wait, `AsyncClient` for asyncio.

    with Client("http://127.0.0.1:8000") as client:
        answer = client.predict("chest.dcm", heatmaps="Pneumothorax")
        for finding in answer.findings: ...
        values_HW = heatmap_values(answer, "Pneumothorax")

Both repeat a request that the service refused because it is starting or full, after the time that its
Retry-After names. The package httpx is needed: pip install "cxrserve[client]".
"""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from cxrserve.errors import RequestError
from cxrserve.findings import canonical
from cxrserve.reports.answer import Answer, HeatmapReport
from cxrserve.reports.labels import LabelValue, StudyLabels

ImageSource = str | Path | bytes
_Model = TypeVar("_Model", bound=BaseModel)

_RETRIED: Final = frozenset({429, 503, 504})
_FIRST_PAUSE_S: Final = 1.0
_MAX_PAUSE_S: Final = 30.0
_TIMEOUT_S: Final = 60.0


class ServiceError(Exception):
    """An error response of the service.

    Attributes:
        status: its HTTP status.
        title: the problem in a few words.
        detail: what was wrong, and what to do.
    """

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The outcome for one of many images: its answer, or the error that refused it."""

    image: ImageSource
    answer: Answer | None
    error: ServiceError | None


class Client:
    """A client that waits for each answer. It can be used from several threads.

    Args:
        url: address of the service.
        token: its bearer token, if it wants one.
        patience_s: how long a request is repeated while the service is starting or full.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, patience_s: float = 120.0
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(token), timeout=_TIMEOUT_S)
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, image: ImageSource, *, heatmaps: str = "none", scales: str = "numbers") -> Answer:
        """Analyse one image.

        Args:
            image: path of a DICOM, JPEG or PNG file, or its bytes.
            heatmaps: none, positive, all, or names separated by commas.
            scales: numbers, or maps to add the share of each scale.

        Raises:
            ServiceError: the service refused the image, or was not ready within the patience.
            httpx.TransportError: the service cannot be reached.
        """
        content = _content(image)
        parameters = {"heatmaps": heatmaps, "scales": scales}
        retries = _Retries(self._patience_s)
        while True:
            response = self._http.post("/predict", params=parameters, content=content)
            pause_s = retries.pause_s(response)
            if pause_s is None:
                return _answer(response)
            time.sleep(pause_s)

    def labels(self, study: str) -> StudyLabels:
        """Readers' labels of a study of the archive.

        Args:
            study: Study Instance UID.

        Raises:
            ServiceError: the archive has no such study, or the token does not allow it.
        """
        return _parsed(StudyLabels, self._http.get(f"/studies/{study}/labels"))

    def give_labels(self, study: str, labels: Mapping[str, LabelValue]) -> StudyLabels:
        """Label findings of a study: present, absent, unsure or withdrawn by the finding's name.

        Raises:
            ServiceError: as for `labels`; the token needs the scope `label`.
        """
        given = [{"finding": canonical(name), "label": label} for name, label in labels.items()]
        return _parsed(StudyLabels, self._http.post(f"/studies/{study}/labels", json={"labels": given}))

    def predict_many(
        self, images: Iterable[ImageSource], *, heatmaps: str = "none", window: int = 8
    ) -> Iterator[Result]:
        """Analyse many images, `window` at a time; their results come in the order of the images."""
        with ThreadPoolExecutor(window) as threads:
            waiting: deque[Future[Result]] = deque()
            for image in images:
                waiting.append(threads.submit(self._result, image, heatmaps))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _result(self, image: ImageSource, heatmaps: str) -> Result:
        try:
            return Result(image=image, answer=self.predict(image, heatmaps=heatmaps), error=None)
        except ServiceError as error:
            return Result(image=image, answer=None, error=error)


class AsyncClient:
    """The client for asyncio; arguments and errors are those of `Client`."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, patience_s: float = 120.0
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(token), timeout=_TIMEOUT_S)
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(self, image: ImageSource, *, heatmaps: str = "none", scales: str = "numbers") -> Answer:
        """Analyse one image, as `Client.predict`."""
        content = await asyncio.to_thread(_content, image)
        parameters = {"heatmaps": heatmaps, "scales": scales}
        retries = _Retries(self._patience_s)
        while True:
            response = await self._http.post("/predict", params=parameters, content=content)
            pause_s = retries.pause_s(response)
            if pause_s is None:
                return _answer(response)
            await asyncio.sleep(pause_s)

    async def labels(self, study: str) -> StudyLabels:
        """Readers' labels of a study, as `Client.labels`."""
        return _parsed(StudyLabels, await self._http.get(f"/studies/{study}/labels"))

    async def give_labels(self, study: str, labels: Mapping[str, LabelValue]) -> StudyLabels:
        """Label findings of a study, as `Client.give_labels`."""
        given = [{"finding": canonical(name), "label": label} for name, label in labels.items()]
        return _parsed(StudyLabels, await self._http.post(f"/studies/{study}/labels", json={"labels": given}))

    async def predict_many(
        self, images: Iterable[ImageSource], *, heatmaps: str = "none", window: int = 8
    ) -> AsyncIterator[Result]:
        """Analyse many images, `window` at a time; their results come in the order of the images."""
        waiting: deque[asyncio.Task[Result]] = deque()
        try:
            for image in images:
                waiting.append(asyncio.create_task(self._result(image, heatmaps)))
                if len(waiting) >= window:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def _result(self, image: ImageSource, heatmaps: str) -> Result:
        try:
            return Result(image=image, answer=await self.predict(image, heatmaps=heatmaps), error=None)
        except ServiceError as error:
            return Result(image=image, answer=None, error=error)


def heatmap_values(answer: Answer, finding: str, *, scale: int | None = None) -> NDArray[np.float32]:
    """The heatmap of a finding over the whole radiograph: raw values, float32 [H, W].

    Args:
        finding: its name in any spelling that the service takes.
        scale: size of one network, for its share of the map; by default the ensemble's.

    Raises:
        RequestError: the answer holds no such heatmap, as it was not requested.
    """
    name = canonical(finding)
    report = next(candidate for candidate in answer.findings if candidate.finding == name)
    heatmap: HeatmapReport | None = (
        report.heatmap
        if scale is None
        else next((candidate.heatmap for candidate in report.scales if candidate.size == scale), None)
    )
    if heatmap is None:
        raise RequestError(f"the answer holds no such heatmap of {name}; request it with heatmaps={name!r}")
    with Image.open(io.BytesIO(base64.b64decode(heatmap.png))) as picture:
        greys_HW = np.asarray(picture, np.float32)
    exponent = 1 if heatmap.curve == "linear" else 2
    values_HW: NDArray[np.float32] = (heatmap.scale * (greys_HW / 255) ** exponent).astype(np.float32)
    return values_HW


class _Retries:
    """The pauses between the attempts of one request."""

    def __init__(self, patience_s: float) -> None:
        self._until = time.monotonic() + patience_s
        self._pause_s = _FIRST_PAUSE_S

    def pause_s(self, response: httpx.Response) -> float | None:
        """Seconds until the next attempt; None where the response is final or the patience ends before."""
        if response.status_code not in _RETRIED:
            return None
        named = response.headers.get("Retry-After", "")
        pause_s = float(named) if named.isdigit() else self._pause_s
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        return pause_s if time.monotonic() + pause_s < self._until else None


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _content(image: ImageSource) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _answer(response: httpx.Response) -> Answer:
    return _parsed(Answer, response)


def _parsed(model: type[_Model], response: httpx.Response) -> _Model:
    if response.is_success:
        return model.model_validate_json(response.content)
    try:
        problem: dict[str, Any] = response.json()
    except ValueError:  # a proxy's page
        problem = {}
    raise ServiceError(
        response.status_code,
        str(problem.get("title", response.reason_phrase)),
        str(problem.get("detail", "The response is no problem document; look at the proxy in between.")),
    )
