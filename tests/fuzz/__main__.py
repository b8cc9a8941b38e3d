"""The fuzz on demand: `python -m tests.fuzz --seconds 3600` runs for an hour and prints its figures.

Ends with status 1 where an object cost too much or raised a foreign error. Seeds come from the clock, so that
each run looks at other objects; a failure names the seed, which makes the same object again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from tests.fuzz.decoders import fuzz_decoders
from tests.fuzz.loop import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run all targets, each for its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    share = arguments.seconds / (len(TARGETS) + 1)
    results = {}
    for name, target in TARGETS.items():
        results[name] = asdict(fuzz(target, seconds=share, seed=arguments.seed))
        sys.stdout.write(json.dumps({name: results[name]}) + "\n")
        sys.stdout.flush()
    results["decoders"] = asdict(fuzz_decoders(seconds=share, seed=arguments.seed))
    run = {"seed": arguments.seed, "seconds": arguments.seconds, "decoders": results["decoders"]}
    sys.stdout.write(json.dumps(run) + "\n")
    return 1 if any(result["failures"] for result in results.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
