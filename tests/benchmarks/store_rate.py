"""Measures how many objects a second the station acknowledges: received, fsynced, committed.

    python -m tests.benchmarks.store_rate

Full-size images (2500 × 3056, 16 bit) are sent by dcmtk's storescu over several associations at once, each
object with its own UIDs. The rules' quiet time is so long that no analysis starts meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, generate_uid

from tests import radiographs
from tests.bundles import write_tiny_bundle
from tests.dcmtk import path_of
from tests.stations import Station, station

ROWS, COLUMNS = 3056, 2500
RULES = {"quiet_time_s": 3600, "rules": [{"name": "kept"}]}


def uncompressed() -> Dataset:
    """A film of 15 MB."""
    return radiographs.dataset(ROWS, COLUMNS)


def compressed() -> Dataset:
    """The same in JPEG-LS."""
    import jpeg_ls

    made = radiographs.dataset(ROWS, COLUMNS)
    pixels_HW = np.frombuffer(made.PixelData, "<u2").reshape(ROWS, COLUMNS)
    made.PixelData = encapsulate([bytes(jpeg_ls.encode(pixels_HW))])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGLSLossless
    return made


def write(make: Callable[[], Dataset], count: int, folder: Path) -> tuple[list[Path], int]:
    """Files with UIDs of their own, and the bytes of one."""
    folder.mkdir()
    dataset = make()
    paths = []
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID = generate_uid()
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths, paths[0].stat().st_size


def measure(running: Station, files: list[Path], associations: int, options: list[str]) -> float:
    """Objects acknowledged a second, from the first connection to the last success."""
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            [path_of("storescu"), "-v", *options, "-aec", "CXRSERVE", "127.0.0.1", str(running.dicom_port)]
            + [str(each) for each in files[first::associations]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for first in range(associations)
    ]
    acknowledged = sum(each.communicate()[0].count("Store Response (Success)") for each in senders)
    seconds = time.perf_counter() - started
    assert acknowledged == len(files), f"{acknowledged} of {len(files)} were acknowledged"
    return acknowledged / seconds


def cpu_seconds(running: Station) -> float:
    """CPU seconds of the station's process so far."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print one line for each kind of film."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=60, help="objects of each kind")
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=None, help="where archive and films lie")
    asked = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"pynetdicom {version('pynetdicom')}, pydicom {version('pydicom')}"
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        bundle = write_tiny_bundle(folder / "bundle")
        with station(bundle, folder / "archive", RULES, "--no-http", log_level="warning") as running:
            for title, make, options in (
                ("uncompressed", uncompressed, ["-xe"]),
                ("JPEG-LS", compressed, ["-xt"]),
            ):
                files, size = write(make, asked.objects, folder / title)
                before = cpu_seconds(running)
                rate = measure(running, files, asked.associations, options)
                cpu_ms = (cpu_seconds(running) - before) / len(files) * 1000
                print(
                    f"{ROWS} × {COLUMNS}, {title}: {size / 1e6:.1f} MB, {rate:.1f} objects/s acknowledged, "
                    f"{rate * size / 1e6:.0f} MB/s, {cpu_ms:.0f} ms of the station's CPU each; "
                    f"{asked.objects} objects over {asked.associations} associations"
                )
                for each in files:
                    each.unlink()


if __name__ == "__main__":
    main()
