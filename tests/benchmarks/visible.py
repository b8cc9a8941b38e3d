"""The share of findings whose heatmap can be seen: one scale for all findings beside one for each.

`python -m tests.benchmarks.visible --phantoms 60 --films FOLDER`

Phantoms and radiographs go through `POST /predict?heatmaps=all`. A heatmap can be seen where its
strongest place has a strength of 0.2 or more, the lowest contour. "One scale": √(largest value / scale),
with the bundle's scale. "Each its own": largest value / scale, linear, with the median over the true
positives among the even phantoms, as `models calibrate` does with validation images; only the odd
phantoms and the radiographs count.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from tests.servers import running
from training.phantom.files import write_phantoms

_VISIBLE: Final = 0.2
_FIRST_SEED: Final = 5_900_000
_MIN_POSITIVES: Final = 3
_PATIENCE_S: Final = 120


class Seen(NamedTuple):
    """The heatmap of one finding of one image; `drawn` is None where nobody knows the truth."""

    finding: str
    largest: float
    scale: float
    positive: bool
    drawn: bool | None


def seen(url: str, film: Path, drawn: dict[str, bool] | None) -> list[Seen]:
    """All heatmaps of one image; none where it is refused."""
    response = httpx.post(
        f"{url}/predict", params={"heatmaps": "all"}, content=film.read_bytes(), timeout=_PATIENCE_S
    )
    if response.status_code != httpx.codes.OK:
        return []
    return [
        Seen(
            row["finding"],
            row["heatmap"]["max"],
            row["heatmap"]["scale"],
            row["positive"],
            None if drawn is None else drawn[row["finding"]],
        )
        for row in response.json()["findings"]
    ]


def scales(phantoms: list[list[Seen]]) -> dict[str, float]:
    """For each finding the median of the largest values of its true positives, where there are enough."""
    found = {}
    for name in NAMES:
        maxima = [
            row.largest
            for rows in phantoms
            for row in rows
            if row.finding == name and row.positive and row.drawn
        ]
        if len(maxima) >= _MIN_POSITIVES:
            found[name] = statistics.median(maxima)
    return found


def shares(images: list[list[Seen]], own: dict[str, float]) -> dict[str, object]:
    """The shares on both kinds of scale, over the findings that have a scale of their own."""
    counts: Counter[str] = Counter()
    for row in (row for rows in images for row in rows if row.finding in own):
        if row.positive and row.drawn is not False:
            kind = "positive"
        elif not row.positive and not row.drawn:
            kind = "absent"
        else:
            continue
        counts[kind] += 1
        counts[f"{kind}, one"] += ((row.largest / row.scale) ** 0.5 >= _VISIBLE) == (kind == "positive")
        counts[f"{kind}, own"] += (row.largest / own[row.finding] >= _VISIBLE) == (kind == "positive")
    return {
        "images": len(images),
        **{
            f"{kind}_{what}": {
                "findings": counts[kind],
                "one_scale": round(counts[f"{kind}, one"] / max(1, counts[kind]), 3),
                "each_its_own": round(counts[f"{kind}, own"] / max(1, counts[kind]), 3),
            }
            for kind, what in (("positive", "visible"), ("absent", "dark"))
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--phantoms", type=int, default=60)
    parser.add_argument("--films", type=Path, help="a folder of radiographs, without labels")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as name,
        running(Settings(bundle=arguments.bundle, port=0, log_level="warning")) as server,
    ):
        folder = Path(name)
        write_phantoms(folder, arguments.phantoms, _FIRST_SEED, "jpeg")
        with (folder / "labels.csv").open(encoding="utf-8") as file:
            drawn = {row["path"]: {name: row[name] == "1" for name in NAMES} for row in csv.DictReader(file)}
        phantoms = [seen(server.url, folder / path, truth) for path, truth in drawn.items()]
        films = sorted(arguments.films.iterdir()) if arguments.films else []
        real = [rows for film in films if (rows := seen(server.url, film, None))]
    own = scales(phantoms[::2])
    result = {
        "phantoms": shares(phantoms[1::2], own),
        "radiographs": shares(real, own),
        "scales": {name: round(value, 1) for name, value in own.items()},
        "load_before": load,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
