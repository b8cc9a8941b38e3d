"""The film check's network: uint8 pictures in; orientation, polarity, view, cut and features out.

Legend: N pictures, S their side (256), D features.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

# Side of the picture that the check is given, and of the one that it works on.
SIDE: Final = 256
WORKING_SIDE: Final = 128
FEATURES: Final = 64
VIEWS: Final = ("PA", "AP", "lateral")
# Channels after the stem and after each of the three blocks, which halve the picture.
_CHANNELS: Final = (32, 48, 96, 96)
_REST: Final = 4


class Answers(NamedTuple):
    """The heads of one batch.

    Attributes:
        turn_N8: logits of the eight orientations: quarter turns counter-clockwise 0 to 3, then the same
            four of the mirrored picture.
        inverted_N: logit of "black and white are exchanged".
        view_N3: logits of PA, AP, lateral.
        cut_N4: logits of "a part is missing" above, at the right, below, at the left of the picture.
        chest_N: logit of "this is a chest".
        features_ND: for the references.
    """

    turn_N8: Tensor
    inverted_N: Tensor
    view_N3: Tensor
    cut_N4: Tensor
    chest_N: Tensor
    features_ND: Tensor


class FilmCheckNetwork(nn.Module):
    """A small residual network on the picture halved to 128 × 128."""

    def __init__(self) -> None:
        super().__init__()
        first = _CHANNELS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 8, stride=4, padding=2, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(_Block(before, after) for before, after in pairwise(_CHANNELS)))
        self.features = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.1), nn.Linear(_CHANNELS[-1] * _REST**2, FEATURES)
        )
        self.heads = nn.Linear(FEATURES, 8 + 1 + 3 + 4 + 1)

    def forward(self, image_N1SS: Tensor) -> Answers:
        """Answers for uint8 [N, 1, 256, 256]."""
        return self.answers(nn.functional.avg_pool2d(image_N1SS.float(), SIDE // WORKING_SIDE))

    def answers(self, grey_N1SS: Tensor) -> Answers:
        """Answers for float32 0 to 255, [N, 1, 128, 128]."""
        features_ND = self.features(self.blocks(self.stem(grey_N1SS / 128 - 1)))
        outputs = self.heads(torch.relu(features_ND)).split((8, 1, 3, 4, 1), 1)
        turn_N8, inverted_N1, view_N3, cut_N4, chest_N1 = outputs
        return Answers(turn_N8, inverted_N1[:, 0], view_N3, cut_N4, chest_N1[:, 0], features_ND)


class _Block(nn.Module):
    """Two convolutions beside a shortcut; the first halves the picture."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Half the side, `after` channels."""
        return torch.relu(self.body(x) + self.shortcut(x))
