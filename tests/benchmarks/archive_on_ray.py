"""Archive on Ray: phantoms in Orthanc, read by two raylets of which one is killed, results sent back.

    python -m tests.benchmarks.archive_on_ray --images 2048

The phantoms are drawn, reduced and shifted, so that many fit a disk and a short time: what is tried is
whether every image is read once, and not how fast networks are. The bundle is the tests' small one.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray spells it

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import yaml
from pydicom import dcmread
from pydicom.uid import generate_uid
from ray.cluster_utils import Cluster

from tests import dcmtk
from tests.bundles import write_tiny_bundle
from tests.orthanc import Orthanc, orthanc
from training.phantom import write_phantoms

_DRAWN, _REDUCED, _MARGIN = 64, 6, 8
_SENT_AT_ONCE = 256
_CHECKED = 40


def draw(folder: Path, count: int) -> None:
    """Write `count` small DICOM files: phantoms, each in several crops with UIDs of its own."""
    drawn = folder / "drawn"
    write_phantoms(drawn, _DRAWN, format="dicom")
    small = folder / "small"
    small.mkdir()
    chance = random.Random(0)
    originals = []
    for path in sorted(drawn.glob("*.dcm")):
        original = dcmread(path)
        reduced_HW = original.pixel_array[::_REDUCED, ::_REDUCED].copy()
        del original.PixelData
        originals.append((original, reduced_HW))
    for number in range(count):
        original, pixels_HW = originals[number % _DRAWN]
        dataset = copy.deepcopy(original)
        top, left = chance.randrange(_MARGIN), chance.randrange(_MARGIN)
        pixels_HW = pixels_HW[top : top - _MARGIN, left : left - _MARGIN]
        dataset.Rows, dataset.Columns = pixels_HW.shape
        dataset.ImagerPixelSpacing = [f"{float(each) * _REDUCED:.6f}" for each in dataset.ImagerPixelSpacing]
        dataset.PixelData = np.ascontiguousarray(pixels_HW).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(small / f"{number:06d}.dcm", enforce_file_format=True)


def send(pacs: Orthanc, files: list[Path]) -> None:
    """C-STORE the files."""
    for start in range(0, len(files), _SENT_AT_ONCE):
        dcmtk.storescu(pacs.dicom_port, *files[start : start + _SENT_AT_ONCE], ae="ORTHANC")


def read(folder: Path, pacs: Orthanc, parts: int) -> tuple[float, int]:
    """Read the images of `pacs` on two raylets; one is killed after `parts`. Seconds, and parts then."""
    rules = folder / "rules.yaml"
    servers = {"orthanc": {"url": pacs.dicom_web, "modalities": ["DX"]}}
    rules.write_text(yaml.safe_dump({"servers": servers, "rules": [{"name": "all"}]}))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 10**8, "include_dashboard": False},
    )
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=10**8) for _ in range(2)]
    command = [
        *(sys.executable, "-m", "cxrserve", "predict", "dicomweb:orthanc", "--format", "parquet"),
        *("--output", str(folder / "answers"), "--dicom", str(folder / "results")),
        *("--ray", cluster.address, "--bundle", str(write_tiny_bundle(folder / "bundle"))),
        *("--set", f"rules={rules}", "--set", "decode_workers=1"),
    ]
    began = time.monotonic()
    process = subprocess.Popen(command)
    while (done := len(list((folder / "answers").glob("part-*")))) < parts and process.poll() is None:
        time.sleep(0.1)
    cluster.remove_node(nodes[1], allow_graceful=False)
    print(f"killed a raylet after {done} parts, {time.monotonic() - began:.0f} s", flush=True)
    code = process.wait()
    took_s = time.monotonic() - began
    cluster.shutdown()
    assert code == 0, f"exit code {code}"
    return took_s, done


def judge(folder: Path, pacs: Orthanc, count: int) -> None:
    """Print what is missing, doubled or invalid."""
    rows = [
        row for path in sorted((folder / "answers").glob("part-*")) for row in pq.read_table(path).to_pylist()
    ]
    instances = Counter(row["sop_instance_uid"] for row in rows)
    sent = {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in (folder / "small").iterdir()
    }
    print("status:", Counter(row["status"] for row in rows))
    print(f"rows {len(rows)}; missing {len(sent - set(instances))}; doubled {len(rows) - len(instances)}")
    results = sorted((folder / "results").glob("*/*/*.dcm"))
    print("results:", Counter(path.name for path in results))
    before = len(pacs.instances())
    stored = [
        httpx.post(f"{pacs.url}/instances", content=path.read_bytes(), timeout=60).raise_for_status().json()
        for path in results
    ]
    print(
        f"objects in Orthanc: {before} before, {len(pacs.instances())} after; {count} images were sent; "
        f"{Counter(answer['Status'] for answer in stored)}"
    )
    faults = Counter[str]()
    sample = random.Random(0).sample(stored, min(_CHECKED, len(stored)))
    for answer in sample:
        path = folder / "checked.dcm"
        path.write_bytes(pacs.file(answer["ID"]))
        checked = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        faults.update(
            line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")
        )
    print(f"dciodvfy on {len(sample)} results out of Orthanc: {sum(faults.values())} errors {dict(faults)}")


def main() -> None:
    """Run it all in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--parts", type=int, default=2, help="Parts that are done when the raylet is killed.")
    options = parser.parse_args()
    print(f"load {psutil.getloadavg()}, {psutil.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, options.images)
        with orthanc(folder / "orthanc") as pacs:
            began = time.monotonic()
            send(pacs, sorted((folder / "small").glob("*.dcm")))
            print(
                f"{len(pacs.instances())} objects in Orthanc after {time.monotonic() - began:.0f} s",
                flush=True,
            )
            took_s, _ = read(folder, pacs, options.parts)
            print(f"read in {took_s:.0f} s, {options.images / took_s:.1f} images/s", flush=True)
            judge(folder, pacs, options.images)
    print(f"load {psutil.getloadavg()}")


if __name__ == "__main__":
    main()
