"""The film check's network in an ONNX Runtime session, on the CPU whatever the members run on.

Legend: S side of the picture (256), D features.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.bundle.film_check import VIEWS
from cxrserve.errors import BundleError
from cxrserve.imaging.prepared import CHECK_SIDE

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

_OUTPUTS: Final[dict[str, tuple[int, ...]]] = {
    "turn": (8,),
    "inverted": (),
    "views": (len(VIEWS),),
    "cut": (4,),
    "chest": (),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The network's answers about one picture as it lies.

    Attributes:
        turn_8: probabilities of 0 to 3 quarter turns counter-clockwise, then of the same when mirrored.
        inverted: probability that black and white are exchanged.
        view_3: probabilities of PA, AP, lateral.
        cut_4: probability that a part is missing above, at the right, below, at the left.
        chest: probability that it shows a chest.
        features_D: for the references.
    """

    turn_8: Floats
    inverted: float
    view_3: Floats
    cut_4: Floats
    chest: float
    features_D: Floats

    @property
    def quarter_4(self) -> Floats:
        """Probabilities of 0 to 3 quarter turns, mirrored or not."""
        return self.turn_8[:4] + self.turn_8[4:]

    @property
    def mirrored(self) -> float:
        """Probability that the film is mirrored, however it is turned."""
        return float(self.turn_8[4:].sum())


class FilmCheckNetwork:
    """The network, ready to run. `look` may be called from many threads; they take turns.

    Raises on construction:
        BundleError: the file is not an ONNX graph, or not one of a film check.
    """

    def __init__(self, model: bytes, *, features: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(
                f"the film check's file is not an ONNX graph that ONNX Runtime reads: {error}"
            ) from error
        inputs = {port.name: tuple(port.shape[1:]) for port in self._session.get_inputs()}
        outputs = {port.name: tuple(port.shape[1:]) for port in self._session.get_outputs()}
        needed = {**_OUTPUTS, "features": (features,)}
        if inputs != {"image": (1, CHECK_SIDE, CHECK_SIDE)} or outputs != needed:
            raise BundleError(
                f"the film check has the inputs {inputs} and the outputs {outputs}; it needs image "
                f"{(1, CHECK_SIDE, CHECK_SIDE)} and {needed}"
            )
        self._lock = threading.Lock()

    def look(self, picture_SS: Picture) -> Answers:
        """The answers about one picture, uint8 [256, 256]."""
        with self._lock:
            turn, inverted, view, cut, chest, features = self._session.run(
                [*_OUTPUTS, "features"], {"image": np.ascontiguousarray(picture_SS)[None, None]}
            )
        return Answers(
            turn_8=turn[0],
            inverted=float(inverted[0]),
            view_3=view[0],
            cut_4=cut[0],
            chest=float(chest[0]),
            features_D=features[0],
        )
