"""The form's parser: whatever a file holds and wherever the network cuts, the same bytes come out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxrserve.api.multipart import Form
from cxrserve.errors import RequestError
from tests.api import raw

_CONTENT_TYPE = raw.FORM.partition(": ")[2]
# Pieces that look like the form's own framing, but for the whole delimiter, which no content may hold.
_LOOKALIKES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"--", b"-", b"b", b"\r\n-", b"--b", b"\r\n--a", b"\0", b"x"]
)
_CONTENTS = st.lists(_LOOKALIKES | st.binary(max_size=20), max_size=30).map(b"".join)
_CUTS = st.lists(st.integers(1, 40), max_size=200)


def parsed(body: bytes, cuts: list[int]) -> list[bytearray]:
    form = Form(_CONTENT_TYPE, most_files=4, most_bytes=10_000)
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
