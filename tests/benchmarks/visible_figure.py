"""A picture of heatmaps before and after: one scale for all findings beside one for each, on phantoms.

`python -m tests.benchmarks.visible_figure tests/benchmarks/visible-DATE.png`

Each row has one finding: a phantom that shows it, and one that does not, with the same map drawn both ways.
"One scale" is √(value / scale) with the bundle's common scale; "its own" is value / scale, linear, with the
median of the largest values over the true positives among the even phantoms. Shown are the four findings with
the lowest of these medians, on odd phantoms: the first where the finding was found, and the first without it.
None is chosen for its looks.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrserve.bundle.contract import Contract
from cxrserve.ensemble import heatmap
from cxrserve.findings import INDEX, NAMES
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.pictures import FAINT, INK, PAPER, blend, heatmap_picture
from cxrserve.settings import Settings
from tests.benchmarks.visible import _FIRST_SEED, _MIN_POSITIVES
from training.phantom.files import write_phantoms

_SIDE: Final = 170
_GAP, _TOP, _LEFT = 8, 44, 150
_ROWS: Final = 4
_COLUMNS: Final = ("present", "one scale", "its own", "absent", "one scale", "its own")
_STEP: Final = 5  # of the grey levels and colours in the file: a finer one cannot be seen, and costs bytes

Grey = NDArray[np.uint8]
Maps = NDArray[np.float32]


class Film(NamedTuple):
    """One phantom: its picture, uint8 [h, w], and by finding its map, decision and truth."""

    picture_hw: Grey
    maps: dict[str, Maps]
    positive: dict[str, bool]
    drawn: dict[str, bool]


def films(pipeline: Pipeline, folder: Path, count: int) -> Iterator[Film]:
    """Phantoms with seeds from `_FIRST_SEED` on, as the bundle reads them."""
    contract = pipeline.predictor.bundle.contract
    for path, truth in _phantoms(folder, count):
        reading = pipeline.read(path.read_bytes(), explain="all", preview_side=_SIDE)
        picture_hw = reading.image.preview_HW
        assert picture_hw is not None
        height, width = picture_hw.shape
        maps = {
            name: map_hw
            for name in NAMES
            if (map_hw := heatmap_picture(reading, INDEX[name], contract, (height, width))) is not None
        }
        positive = {name: bool(reading.prediction.positive_F[INDEX[name]]) for name in NAMES}
        yield Film(picture_hw, maps, positive, truth)


def _phantoms(folder: Path, count: int) -> Iterator[tuple[Path, dict[str, bool]]]:
    write_phantoms(folder, count, _FIRST_SEED, "jpeg")
    header, *rows = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    columns = header.split(",")
    for row in rows:
        cells = dict(zip(columns, row.split(","), strict=True))
        yield folder / cells["path"], {name: cells[name] == "1" for name in NAMES}


def draw(phantoms: list[Film], contract: Contract) -> Image.Image:
    """The picture, RGB."""
    even, odd = phantoms[::2], phantoms[1::2]
    scales = {
        name: statistics.median(maxima)
        for name in NAMES
        if len(maxima := _maxima(even, name)) >= _MIN_POSITIVES and _maxima(odd, name)
    }
    rows = sorted(scales, key=scales.__getitem__)[:_ROWS]
    sheet = Image.new(
        "RGB", (_LEFT + len(_COLUMNS) * (_SIDE + _GAP) + 16, _TOP + len(rows) * (_SIDE + _GAP)), PAPER
    )
    pen, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(12)
    for column, words in enumerate(_COLUMNS):
        pen.text((_x(column), 14), words, fill=INK, font=large)
    for number, name in enumerate(rows):
        own = scales[name]
        top = _TOP + number * (_SIDE + _GAP)
        pen.multiline_text((10, top + 6), name.replace(" ", "\n"), fill=INK, font=large)
        scales_of = f"one {contract.heatmap_scale:.0f} nats\nown {own:.1f} nats"
        pen.multiline_text((10, top + 48), scales_of, fill=FAINT, font=small)
        present = next(film for film in odd if film.drawn[name] and film.positive[name])
        absent = next(film for film in odd if not film.drawn[name] and not film.positive[name])
        for first, film in ((0, present), (3, absent)):
            pictures = (
                np.repeat(film.picture_hw[..., None], 3, axis=2),
                blend(
                    film.picture_hw, heatmap.to_grey(film.maps[name], contract.heatmap_scale, "square-root")
                ),
                blend(film.picture_hw, heatmap.to_grey(film.maps[name], own, "linear")),
            )
            for column, picture in enumerate(pictures, first):
                sheet.paste(Image.fromarray(picture), (_x(column), top))
    return sheet


def _x(column: int) -> int:
    """The left of a column; the three of the absent finding stand a little apart."""
    return _LEFT + column * (_SIDE + _GAP) + (16 if column > 2 else 0)


def _maxima(phantoms: list[Film], name: str) -> list[float]:
    return [float(film.maps[name].max()) for film in phantoms if film.drawn[name] and film.positive[name]]


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--phantoms", type=int, default=40)
    parser.add_argument("--folder", type=Path, required=True, help="for the phantoms")
    arguments = parser.parse_args()
    with Pipeline(Settings(bundle=arguments.bundle)) as pipeline:
        sheet = draw(
            list(films(pipeline, arguments.folder, arguments.phantoms)), pipeline.predictor.bundle.contract
        )
    coarse = np.asarray(sheet) // _STEP * _STEP
    Image.fromarray(coarse.astype(np.uint8)).save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
