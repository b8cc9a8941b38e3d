"""Archive with kills: one machine's run is killed at random moments, and must lose and double nothing.

    python -m tests.benchmarks.archive_kill --kills 20

320 small images in 40 parts, with the tests' small bundle; compared with a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tests import radiographs
from tests.bundles import write_tiny_bundle

_IMAGES, _PART = 320, 8
_PROGRAM = (
    "import sys; from cxrserve.bulk.run import Options, predict_in_parts;"
    "from cxrserve.bulk.source import open_source; from cxrserve.settings import Settings;"
    "settings = Settings(bundle=sys.argv[2], threads=1, decode_workers=1);"
    f"predict_in_parts(open_source(sys.argv[1]), settings, sys.argv[3], Options(part_images={_PART}))"
)


def parts_of(output: Path) -> dict[str, bytes]:
    """The finished parts, by name."""
    return {path.name: path.read_bytes() for path in output.glob("part-*")}


def main() -> None:
    """Run it in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    print(f"load {psutil.getloadavg()}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for number in range(_IMAGES):
            (folder / "images" / f"{number:03d}.png").write_bytes(radiographs.png(400 + number, 380))
        bundle = write_tiny_bundle(folder / "bundle")

        def command(output: str) -> list[str]:
            return [sys.executable, "-c", _PROGRAM, str(folder / "images"), str(bundle), str(folder / output)]

        began = time.monotonic()
        subprocess.run(command("whole"), check=True, stderr=subprocess.DEVNULL)
        whole_s = time.monotonic() - began
        chance, changed, done = random.Random(0), 0, [0]
        for _ in range(options.kills):
            before = parts_of(folder / "killed")
            process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.0, 0.7 * whole_s))
            process.kill()
            process.wait()
            after = parts_of(folder / "killed")
            changed += sum(after.get(part) != content for part, content in before.items())
            done.append(len(after))
            if len(after) == _IMAGES // _PART:  # it was too fast: begin again
                for path in (folder / "killed").iterdir():
                    path.unlink()
        subprocess.run(command("killed"), check=True, stderr=subprocess.DEVNULL)
        rows = Counter(
            name
            for path in (folder / "killed").glob("part-*")
            for name in pq.read_table(path)["file"].to_pylist()
        )
        same = parts_of(folder / "killed") == parts_of(folder / "whole")
        print(
            f"{options.kills} kills; parts after each: {done[1:]}; finished parts that changed: {changed}; "
            f"missing {_IMAGES - len(rows)}; doubled {rows.total() - len(rows)}; same bytes: {same}"
        )
    print(f"load {psutil.getloadavg()}")


if __name__ == "__main__":
    main()
