"""Sources of bulk prediction on real servers: images in a bucket of S3, and in a PACS by DICOMweb."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import fs
from pydicom import dcmread
from typer.testing import CliRunner

from cxrserve.archive.peers import PullServer
from cxrserve.archive.rules import RulesError
from cxrserve.bulk.plan import part_file
from cxrserve.bulk.source import FileSource, open_source
from cxrserve.cli.main import app
from cxrserve.errors import ConfigurationError, CxrserveError, RequestError, TooLarge
from cxrserve.pacs.web_source import WebSource, web_source
from tests import dcmtk, radiographs
from tests.orthanc import Orthanc, orthanc
from tests.pacs.conftest import new_chest

_LIMIT = 10**8


def predict(bundle: Path, *arguments: str | Path) -> None:
    """`cxrserve predict ARGUMENTS --format parquet` with exit code 0."""
    words = ["predict", *map(str, arguments), "--format", "parquet", "--bundle", str(bundle)]
    done = CliRunner().invoke(app, [*words, "--set", "threads=1", "--set", "decode_workers=1"])
    assert done.exit_code == 0, (done.output, done.exception)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """HOST:PORT of a server of S3, with the bucket `films`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        files = fs.S3FileSystem(
            endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        files.create_dir("films")
        yield f"{host}:{port}"
    server.stop()


def in_bucket(s3: str, path: str) -> str:
    """The address of a folder in the server's bucket."""
    return f"s3://films/{path}?endpoint_override={s3}&scheme=http&region=us-east-1"


def test_a_bucket_is_read_and_answers_go_into_it(s3: str, tiny_bundle: Path, tmp_path: Path) -> None:
    images, local = in_bucket(s3, "images"), tmp_path / "images"
    files, folder = fs.FileSystem.from_uri(images)
    local.mkdir()
    for number in range(3):
        content = radiographs.png(300 + 10 * number, 280)
        (local / f"{number}.png").write_bytes(content)
        with files.open_output_stream(f"{folder}/{number}.png") as stream:
            stream.write(content)
    answers = in_bucket(s3, "answers")
    predict(tiny_bundle, images, "--output", answers)
    predict(tiny_bundle, local, "--output", tmp_path / "answers")
    files, folder = fs.FileSystem.from_uri(answers)
    with files.open_input_file(f"{folder}/{part_file(0)}") as stream:
        assert stream.read() == (tmp_path / "answers" / part_file(0)).read_bytes()
    predict(tiny_bundle, images, "--output", answers)  # nothing to do
    names = {entry.base_name for entry in files.get_file_info(fs.FileSelector(folder))}
    assert names == {"run.json", "manifest.parquet", part_file(0)}


def test_a_bucket_says_what_is_wrong_with_one_object_or_with_all(s3: str) -> None:
    files, folder = fs.FileSystem.from_uri(in_bucket(s3, "few"))
    with files.open_output_stream(f"{folder}/one") as stream:
        stream.write(b"12345")
    source = open_source(in_bucket(s3, "few"))
    assert source.read("one", 5) == b"12345"
    with pytest.raises(TooLarge):
        source.read("one", 4)
    with pytest.raises(RequestError, match="cannot be read"):
        source.read("two", 5)
    with pytest.raises(ConfigurationError, match="is no folder of images"):
        open_source(in_bucket(s3, "nowhere"))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc of our own: it holds what these tests put there, and nothing else."""
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def sent(pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three radiographs in the PACS, and an object of another modality."""
    folder = tmp_path_factory.mktemp("sent")
    radiographs_ = [new_chest(folder / f"{number}.dcm", Modality="DX") for number in range(3)]
    dcmtk.storescu(pacs.dicom_port, *radiographs_, new_chest(folder / "us.dcm", Modality="US"), ae="ORTHANC")
    pacs.wait_for(4)
    return radiographs_


@pytest.fixture
def rules(pacs: Orthanc, tmp_path: Path) -> Path:
    """Rules with the PACS as a server."""
    path = tmp_path / "rules.yaml"
    servers = {"pacs": {"url": pacs.dicom_web}}
    path.write_text(yaml.safe_dump({"servers": servers, "rules": [{"name": "all"}]}))
    return path


def test_a_pacs_is_read_and_its_results_are_written_beside(
    pacs: Orthanc, sent: list[Path], rules: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    words = ("dicomweb:pacs", "--output", tmp_path / "answers", "--dicom", tmp_path / "results")
    predict(tiny_bundle, *words, "--set", f"rules={rules}")
    rows = pq.read_table(tmp_path / "answers" / part_file(0)).to_pylist()
    headers = [dcmread(path, stop_before_pixels=True) for path in sent]
    assert sorted(row["file"] for row in rows) == sorted(
        f"{header.StudyInstanceUID}/{header.SeriesInstanceUID}/{header.SOPInstanceUID}" for header in headers
    )
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        folder = tmp_path / "results" / row["sha256"][:2] / row["sha256"]
        results = {path.name: path for path in folder.iterdir()}
        assert set(results) == {"report.dcm", "overlay.dcm", "presentation-state.dcm"}
        for path in results.values():
            assert dcmread(path).StudyInstanceUID == row["study_instance_uid"]
            checked = subprocess.run(
                [dcmtk.path_of("dciodvfy"), path], capture_output=True, text=True, check=False
            )
            assert "Error" not in checked.stdout + checked.stderr
    # A part that is read again gives the same results.
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.dcm")}
    (tmp_path / "answers" / part_file(0)).unlink()
    for path in (tmp_path / "results").rglob("report.dcm"):
        path.unlink()
    predict(tiny_bundle, *words, "--set", f"rules={rules}")
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.dcm")} == before


def test_results_are_not_left_out_in_silence(sent: list[Path], tiny_bundle: Path, tmp_path: Path) -> None:
    def said(*arguments: str | Path) -> str:
        words = ["predict", *map(str, arguments), "--format", "parquet", "--bundle", str(tiny_bundle)]
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, CxrserveError)
        return str(error)

    answers, results = tmp_path / "answers", tmp_path / "results"
    predict(tiny_bundle, sent[0].parent, "--output", answers)
    assert "dicom: False there, True now" in said(sent[0].parent, "--output", answers, "--dicom", results)
    results.mkdir(exist_ok=True)
    (results / "letter.txt").write_text("mine")
    assert "holds other files, letter.txt among them" in said(
        sent[0].parent, "--output", tmp_path / "others", "--dicom", results
    )


def test_a_server_must_be_in_the_rules_and_answer(pacs: Orthanc, rules: Path) -> None:
    with pytest.raises(RulesError, match="has no other; it has: pacs"):
        web_source("other", rules)
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        WebSource("gone", PullServer(url="http://127.0.0.1:9/dicom-web")).names()


def test_one_image_that_is_gone_is_a_row_and_a_server_that_is_gone_ends_the_run(
    pacs: Orthanc, sent: list[Path], rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrserve.pacs.web_source._PAUSES_S", (0.0,))
    with pytest.raises(RequestError, match="HTTP 404"):
        web_source("pacs", rules).read("1.2.3/1.2.4/1.2.5", _LIMIT)
    name = web_source("pacs", rules).names()[0]
    with pytest.raises(TooLarge):
        web_source("pacs", rules).read(name, 100)
    away = WebSource("pacs", PullServer(url="http://127.0.0.1:9/dicom-web"))
    with pytest.raises(ConfigurationError, match="does not give images any more"):
        away.read(name, _LIMIT)


class _SamePage(BaseHTTPRequestHandler):
    """A QIDO-RS server that knows no `offset`: each page is the first."""

    def do_GET(self) -> None:
        body = json.dumps([{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_server_that_gives_one_page_again_and_again_has_no_complete_list() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _SamePage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        with pytest.raises(ConfigurationError, match="says that its list is complete"):
            WebSource("pacs", PullServer(url=url)).names()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_bucket_that_is_gone_ends_the_run(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrserve.bulk.source._PAUSES_S", (0.0,))
    files, folder = fs.FileSystem.from_uri(in_bucket(s3, "few"))
    files.create_dir(folder)
    gone = fs.S3FileSystem(
        endpoint_override="127.0.0.1:9",
        scheme="http",
        region="us-east-1",
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=1),
    )
    with pytest.raises(ConfigurationError, match="cannot be read any more"):
        FileSource("s3://films/few", gone, folder).read("one", _LIMIT)
