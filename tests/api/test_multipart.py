"""The form's parser: whatever a file holds and wherever the network cuts, the same bytes come out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxrserve.errors import RequestError
from cxrserve.multipart import DICOM_TYPE, FormReader, RelatedReader, related_body, single_part
from tests.api import raw

_CONTENT_TYPE = raw.FORM.partition(": ")[2]
# Pieces that look like the form's own framing, but for the whole delimiter, which no content may hold.
_LOOKALIKES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"--", b"-", b"b", b"\r\n-", b"--b", b"\r\n--a", b"\0", b"x"]
)
_CONTENTS = st.lists(_LOOKALIKES | st.binary(max_size=20), max_size=30).map(b"".join)
_CUTS = st.lists(st.integers(1, 40), max_size=200)


def parsed(body: bytes, cuts: list[int]) -> list[bytearray]:
    form = FormReader(_CONTENT_TYPE, max_files=4, max_bytes=10_000)
    position = 0
    for cut in cuts:
        form.write(body[position : position + cut])
        position += cut
    form.write(body[position:])
    return form.close()


@given(
    st.lists(_CONTENTS.filter(lambda content: b"\r\n--b" not in b"\r\n" + content), min_size=1, max_size=4),
    _CUTS,
)
def test_files_come_out_as_they_went_in(contents: list[bytes], cuts: list[int]) -> None:
    body = raw.form(*(('form-data; name="file"; filename="x"', content) for content in contents))
    assert parsed(body, cuts) == contents


@given(_CONTENTS, _CUTS)
def test_anything_else_is_refused_as_a_request(body: bytes, cuts: list[int]) -> None:
    try:
        parsed(body, cuts)
    except RequestError as error:
        assert len(error.detail) > 20  # noqa: PT017 - not raising is fine too


@given(st.lists(_CONTENTS, min_size=1, max_size=3), _CUTS)
def test_written_objects_are_read_again(objects: list[bytes], cuts: list[int]) -> None:
    body = related_body(objects)
    reader = RelatedReader(body.media_type, max_parts=3, max_bytes=10_000)
    position = 0
    for cut in cuts:
        reader.write(body.content[position : position + cut])
        position += cut
    reader.write(body.content[position:])
    reader.close()
    assert [(part.content_type, bytes(part.content)) for part in reader.complete] == [
        (DICOM_TYPE, content) for content in objects
    ]


def test_a_single_part_of_another_servers_answer() -> None:
    body = related_body([b"object"])
    assert single_part(body.content, body.media_type) == b"object"
    preamble = b"This is a multipart message.\r\n" + body.content
    assert single_part(preamble, body.media_type.replace(DICOM_TYPE, "image/jpeg")) == b"object"
    assert single_part(b"bare", "application/dicom") == b"bare"
    assert single_part(body.content[:-10], body.media_type) == b""
    assert single_part(related_body([b"a", b"b"]).content, related_body([b"a", b"b"]).media_type) == b""
