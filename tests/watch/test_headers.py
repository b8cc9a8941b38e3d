"""No word of a file's header reaches the watch, the data of its page or the metrics."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import httpx
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from tests import radiographs
from tests.conftest import Serve

FILES: Final = 24
# Words of letters that no name of the service, of a finding or of a view has in a row.
SECRETS: Final = {"latin": "QXJVZK", "japanese": "秘密患者", "greek": "ΞΨΩΦΛΔ"}
UID: Final = "1.2.826.0.1.3680043.77.4711"
DAY: Final = "19330102"
_LONGEST: Final = {
    **dict.fromkeys(("AE", "CS", "SH"), 16),
    **dict.fromkeys(("PN", "LO", "ST", "LT", "UC", "UT"), 60),
}
# The image itself stays as it is: a file that cannot be decoded would tell nothing about its header.
_KEPT_GROUPS: Final = (0x0000, 0x0002, 0x0004, 0x0028, 0x7FE0)
_KEPT: Final = ("SpecificCharacterSet", "SOPClassUID", "Modality")
_ELEMENTS: Final = sorted(
    (tag, vr, keyword)
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
    if vr in (*_LONGEST, "UI", "DA") and keyword not in ("", *_KEPT) and tag >> 16 not in _KEPT_GROUPS
)
# What a reader of films looks at most.
_LOOKED_AT: Final = (
    "ViewPosition",
    "StationName",
    "Manufacturer",
    "ProtocolName",
    "PatientName",
    "PatientID",
    "BodyPartExamined",
    "SeriesDescription",
    "StudyDescription",
    "PatientOrientation",
    "ImageLaterality",
    "SOPInstanceUID",
)


def _value(vr: str, word: str, chance: random.Random) -> str:
    if vr == "UI":
        return f"{UID}.{chance.randint(1, 10**6)}"
    if vr == "DA":
        return DAY
    text = f"{word}{chance.randint(0, 999)}"
    return text[: _LONGEST[vr]]


def _fuzzed(number: int) -> bytes:
    """A radiograph with 60 elements of the dictionary, private ones, and sequences, all telling a secret."""
    chance = random.Random(number)
    dataset = radiographs.dataset()
    word = SECRETS[chance.choice(sorted(SECRETS))]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    looked_at = [each for each in _ELEMENTS if each[2] in _LOOKED_AT and chance.random() < 0.6]
    for tag, vr, _ in [*looked_at, *chance.sample(_ELEMENTS, 60)]:
        ascii_only = vr in ("AE", "CS")
        dataset.add_new(Tag(tag), vr, _value(vr, SECRETS["latin"] if ascii_only else word, chance))
    item = Dataset()
    item.CodeValue, item.CodeMeaning = _value("SH", word, chance), _value("LO", word, chance)
    dataset.ViewCodeSequence = Sequence([item])
    block = dataset.private_block(0x0099, f"{SECRETS['latin']} BLOCK", create=True)
    block.add_new(0x01, "LO", _value("LO", word, chance))
    return radiographs.as_file(dataset)


def test_no_word_of_a_header_is_kept(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "watch"
    with serve(watch=folder) as server:
        statuses = [
            httpx.post(f"{server.url}/predict", content=_fuzzed(number), timeout=60).status_code
            for number in range(FILES)
        ]
        server.server.service.pipeline.watch.flush()
        report = httpx.get(f"{server.url}/watch").text
        metrics = httpx.get(f"{server.url}/metrics").text
    assert set(statuses) <= {200, 422}
    assert statuses.count(200) >= FILES // 4, statuses
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert len(kept) > 1000
    for secret in (*SECRETS.values(), UID, DAY):
        assert secret not in report
        assert secret not in metrics
        assert secret.encode() not in kept
        assert secret.encode("utf-16-le") not in kept
