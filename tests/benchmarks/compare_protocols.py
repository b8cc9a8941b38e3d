"""Comparison of the two ways in: each DICOM file of a folder by `POST /predict` and by C-STORE.

    python -m tests.benchmarks.compare_protocols FOLDER [--bundle models/demo]

Prints a line for each file and ends with 1 where the two differ: other probabilities or warnings, another
reason of a refusal, or a refusal of one way alone. Each copy gets identifiers of its own, of the same length,
so that files which are damaged on purpose stay as they are but for those bytes.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pydicom.filereader import read_file_meta_info
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity

from tests.stations import Station, station

_RULES: Final = {"quiet_time_s": 0.1, "rules": [{"name": "all"}]}
_UID: Final = re.compile(rb"(?<![0-9.])[0-2](?:\.(?:0|[1-9][0-9]*)){2,}(?![0-9.])")
_STANDARD: Final = b"1.2.840.10008."
_PATIENCE_S: Final = 60.0
NOT_NEGOTIATED: Final = "not stored: no presentation context"


@dataclass(frozen=True)
class Answer:
    """The result for one file, by one of the ways.

    Attributes:
        problem: slug of a refusal, or "not stored: " and the DIMSE status.
        probabilities: of the 14 findings.
        warnings: their codes.
    """

    problem: str = ""
    probabilities: tuple[float | None, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: dict[str, Any]) -> Answer:
        """The answer in the JSON of `POST /predict`."""
        return cls(
            probabilities=tuple(finding["probability"] for finding in body["findings"]),
            warnings=tuple(warning["code"] for warning in body["warnings"]),
        )

    def agrees(self, dimse: Answer) -> bool:
        """True where C-STORE says the same; a syntax that nobody decodes is not negotiated at all."""
        return self == dimse or (self.problem == "unsupported-image" and dimse.problem == NOT_NEGOTIATED)

    def __str__(self) -> str:
        return self.problem or f"analysed, warnings: {', '.join(self.warnings) or 'none'}"


def with_own_identifiers(part10: bytes, number: int) -> bytes:
    """A copy in which every identifier that the standard does not own holds `number`, at the same length.

    Args:
        number: 0 to 899.
    """

    def renamed(match: re.Match[bytes]) -> bytes:
        uid = match[0]
        if uid.startswith(_STANDARD) or not uid[-5:].isdigit():
            return uid
        return b"%b%d%b" % (uid[:-5], 100 + number, uid[-2:])

    return _UID.sub(renamed, part10)


def by_http(url: str, part10: bytes) -> Answer:
    """Ask `POST /predict`."""
    answer = httpx.post(f"{url}/predict?heatmaps=none", content=part10, timeout=_PATIENCE_S)
    if answer.is_success:
        return Answer.of(answer.json())
    assert answer.status_code < 500, answer.text
    return Answer(problem=str(answer.json()["type"]).rpartition("/")[2].rpartition(":")[2])


def by_dimse(running: Station, path: Path) -> Answer:
    """Send the file as it stands by C-STORE, and wait for what the station says of it."""
    meta = read_file_meta_info(path)
    ae = ApplicationEntity("COMPARE")
    ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", running.dicom_port, ae_title="CXRSERVE")
    if not association.is_established:
        assert association.is_aborted or association.is_rejected
        return Answer(problem=NOT_NEGOTIATED)
    try:
        with _sent_as_it_stands():
            status = association.send_c_store(path)
    finally:
        association.release()
    if status.get("Status") != 0:
        return Answer(problem=f"not stored: {status.get('Status', 0xFFFF):04X}")
    return _analysed(running.url, str(meta.MediaStorageSOPInstanceUID))


@contextmanager
def _sent_as_it_stands() -> Iterator[None]:
    before = _config.STORE_SEND_CHUNKED_DATASET
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        yield
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before


def _analysed(url: str, sop_instance_uid: str) -> Answer:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        for entry in httpx.get(f"{url}/studies", timeout=30).json()["studies"]:
            study = f"{url}/studies/{entry['study_instance_uid']}"
            for image in httpx.get(study, timeout=30).json()["images"]:
                if image["sop_instance_uid"] != sop_instance_uid or image["state"] == "waiting":
                    continue
                if image["problem"] is not None:
                    return Answer(problem=image["problem"]["slug"])
                return Answer.of(httpx.get(f"{study}/images/{sop_instance_uid}/answer", timeout=30).json())
        time.sleep(0.05)
    raise AssertionError(f"the station has no answer for {sop_instance_uid}")


def compare(bundle: Path, files: list[Path], folder: Path) -> Iterator[tuple[Path, Answer, Answer]]:
    """Each file with its answers by HTTP and by DIMSE.

    Args:
        folder: an empty place for the station's archive and the copies.
    """
    with station(bundle, folder / "archive", _RULES) as running:
        for number, path in enumerate(files):
            copy = folder / f"{number}.dcm"
            copy.write_bytes(with_own_identifiers(path.read_bytes(), number))
            yield path, by_http(running.url, copy.read_bytes()), by_dimse(running, copy)


def main() -> int:
    """Read the command line, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    asked = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as place:
        for path, http, dimse in compare(asked.bundle, sorted(asked.folder.glob("*.dcm")), Path(place)):
            same = http.agrees(dimse)
            differing += not same
            print(
                f"{'same' if same else 'OTHER':6}{path.name}: {http}"
                + ("" if same else f" | C-STORE: {dimse}")
            )
    print(f"{differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
