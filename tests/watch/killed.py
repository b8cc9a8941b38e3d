"""A process that observes films until it is killed, and prints how many it has given to the watch.

python -m tests.watch.killed FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from cxrserve.metrics import Metrics
from cxrserve.watch.watch import Watch
from tests.watch.films import film


def main() -> None:
    """Observe one film after the other."""
    watch = Watch(Path(sys.argv[1]), Metrics(), key="bundle")
    random = np.random.default_rng(0)
    for count in range(1, 1_000_000):
        watch.observe(film(random))
        sys.stdout.write(f"{count} {time.monotonic()}\n")
        sys.stdout.flush()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
