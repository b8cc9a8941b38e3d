"""One phantom: a chest radiograph drawn from a seed, with its labels and the place of every finding.

Phantoms have no clinical meaning. They exist so that the whole way, from pixels to a stacked ensemble, can
be trained, tested and shown without anybody's images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

import training.phantom.chest as anatomy
from cxrserve.findings import INDEX, NAMES
from cxrserve.imaging.radiograph import ImageAbout, Radiograph
from training.phantom.scene import Scene
from training.phantom.signs import LOOK_ALIKES, SIGNS

BITS: Final = 12
WHITE: Final = 2**BITS - 1
PREVALENCE: Final = 0.14
# "Lung Opacity" counts the children below too, so that alone it is drawn less often.
PREVALENCE_OF: Final[dict[str, float]] = {
    "Lung Opacity": 0.06,
    "Support Devices": 0.25,
    # Small signs, a few cells each: more of them, so that a thousand phantoms hold enough to learn from.
    "Fracture": 0.25,
    "Lung Lesion": 0.22,
    "Pleural Other": 0.22,
    "Pneumothorax": 0.22,
}
# CheXpert's hierarchy: the finding on the left implies the one on the right.
IMPLIES: Final[dict[str, str]] = {
    "Atelectasis": "Lung Opacity",
    "Consolidation": "Lung Opacity",
    "Edema": "Lung Opacity",
    "Lung Lesion": "Lung Opacity",
    "Pneumonia": "Lung Opacity",
    "Cardiomegaly": "Enlarged Cardiomediastinum",
}

View = Literal["PA", "AP"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Phantom:
    """One phantom.

    Attributes:
        radiograph: 12-bit MONOCHROME2 in uint16, about 2150–2600 × 2050–2400.
        labels_F: bool [14], in the order of `cxrserve.findings`.
        places_FGG: bool [14, 64, 64], where each finding lies in the image squashed to a square; empty for
            "No Finding".
    """

    seed: int
    radiograph: Radiograph
    labels_F: NDArray[np.bool_]
    places_FGG: NDArray[np.bool_]
    view: View


def make_phantom(seed: int) -> Phantom:
    """The phantom of `seed`: the same one every time."""
    rng = np.random.default_rng([seed, 20261120])
    drawn = sample_findings(rng)
    view: View = "AP" if rng.random() < 0.4 else "PA"
    chest = anatomy.sample_chest(
        rng,
        big_heart="Cardiomegaly" in drawn,
        wide_mediastinum="Enlarged Cardiomediastinum" in drawn,
        collapsed_side=int(rng.choice(anatomy.SIDES)) if "Atelectasis" in drawn else 0,
    )
    scene = Scene(chest, rng)
    for finding in drawn:
        SIGNS[finding](scene)
    for draw, probability in LOOK_ALIKES.items():
        for _ in range(int(rng.binomial(2, probability))):
            draw(scene)
    scene.add_vessels()
    anatomy.draw_marker(scene.canvas, chest, rng)
    for child, parent in IMPLIES.items():
        if child in drawn:
            scene.copy_mark(child, parent)
    pixels_HW = expose(scene.canvas.flattened(), rng)
    return Phantom(
        seed=seed,
        radiograph=_radiograph(pixels_HW, chest, view),
        labels_F=labels(drawn),
        places_FGG=scene.places_FGG(),
        view=view,
    )


def sample_findings(rng: np.random.Generator) -> tuple[str, ...]:
    """The findings that are drawn themselves, each with its own probability, in the order of `SIGNS`."""
    return tuple(name for name in SIGNS if rng.random() < PREVALENCE_OF.get(name, PREVALENCE))


def labels(drawn: tuple[str, ...]) -> NDArray[np.bool_]:
    """bool [14]: the drawn findings, what they imply, and "No Finding" (devices allowed) for none."""
    names = set(drawn) | {IMPLIES[name] for name in drawn if name in IMPLIES}
    if not names - {"Support Devices"}:
        names.add("No Finding")
    return np.array([name in names for name in NAMES])


def expose(attenuation_HW: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Stored values [H, W], 12 bit, white is high: quantum noise, then a tone curve as detectors apply.

    The noise grows with attenuation (fewer photons arrive) and with a lower exposure.
    """
    exposure, middle, width = rng.uniform(0.7, 1.5), rng.uniform(0.5, 0.95), rng.uniform(0.4, 0.65)
    noise = rng.standard_normal(attenuation_HW.shape, np.float32)
    sigma = np.float32(NOISE / np.sqrt(exposure))
    values = attenuation_HW + noise * (sigma * (1 + np.float32(0.5) * attenuation_HW))
    values -= np.float32(middle)
    values *= np.float32(1 / width)
    # A logistic curve, as tanh: one call instead of three.
    np.tanh(values, out=values)
    values += 1
    values *= np.float32(WHITE / 2)
    return values.astype(np.uint16)


NOISE: Final = 0.03


def _radiograph(pixels_HW: NDArray[np.uint16], chest: anatomy.Chest, view: View) -> Radiograph:
    rows, columns = pixels_HW.shape
    spacing = 300 / (2 * chest.half_width)
    about = ImageAbout(
        format="dicom",
        rows=rows,
        columns=columns,
        photometric_interpretation="MONOCHROME2",
        bits_stored=BITS,
        view_position=view,
        spacing_mm=(spacing, spacing),
    )
    return Radiograph(pixels_HW=pixels_HW, about=about)


def finding_names(labels_F: NDArray[np.bool_]) -> tuple[str, ...]:
    """Names of the present findings."""
    return tuple(name for name in NAMES if labels_F[INDEX[name]])
