"""Kill a process that counts films for the watch at random moments, and count what its file lost.

python -m tests.benchmarks.watch_kills --kills 50
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from tests.watch.kills import live


def main() -> None:
    """Kill at random moments, and print what was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    kills, chance, before, lost = parser.parse_args().kills, random.Random(0), 0, []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(kills):
            life = live(Path(folder) / "watch.sqlite3", chance.randint(50, 4000))
            if not before + life.old <= life.saved <= before + life.given + 1:
                raise SystemExit(f"kill {number}: {life} after {before} films")
            lost.append(before + life.given - life.saved)
            before = life.saved
    print(f"{kills} kills, {before} films in the file; films lost at a kill: at most {max(lost)}, all of the")
    print("three seconds before it; no count went back")


if __name__ == "__main__":
    main()
