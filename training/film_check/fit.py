"""Fit the film check's network on whole, upright pictures; the labels come from the task itself.

Legend: N pictures, S side of the picture that the network works on, V views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training.film_check.network import VIEWS, Answers, FilmCheckNetwork
from training.film_check.task import Picture, make_example
from training.recipes.config import FilmCheckConfig

# What a step's losses weigh: turn and polarity 1 each.
_CUT_WEIGHT: Final = 1.0
_CHEST_WEIGHT: Final = 1.0
_VIEW_WEIGHT: Final = 0.5
_CLIP_NORM: Final = 5.0
_NO_VIEW: Final = -1

Track = Callable[[Iterable[object], int], Iterable[object]]


class Examples(Dataset[tuple[Picture, int, float, NDArray[np.float32], float, int]]):
    """Examples by number: the same number is the same example, whichever process makes it."""

    def __init__(
        self, pictures_NSS: Sequence[Picture], views_N: Sequence[int], count: int, seed: int
    ) -> None:
        self.pictures_NSS, self.views_N, self.count, self.seed = pictures_NSS, views_N, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Picture, int, float, NDArray[np.float32], float, int]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, number])
        row = int(rng.integers(len(self.pictures_NSS)))
        example = make_example(self.pictures_NSS[row], rng)
        view = self.views_N[row] if example.chest else _NO_VIEW
        return (
            example.picture_SS,
            example.turn,
            float(example.inverted),
            example.cut_4,
            float(example.chest),
            view,
        )


def fit(
    pictures_NSS: Sequence[Picture],
    views_N: Sequence[str | None],
    settings: FilmCheckConfig,
    *,
    workers: int = 0,
    track: Track = lambda batches, _count: batches,
) -> FilmCheckNetwork:
    """A network fitted on whole, upright pictures of `SIDE`.

    Args:
        pictures_NSS: uint8 [N, 256, 256].
        views_N: "PA", "AP", "lateral" or None where the view is not known: then that head learns nothing
            from the picture.
        workers: processes that make examples; 0: the caller's own.
        track: wraps the batches, to show progress.
    """
    numbers = [VIEWS.index(view) if view in VIEWS else _NO_VIEW for view in views_N]
    examples = Examples(
        [halved(picture) for picture in pictures_NSS],
        numbers,
        settings.steps * settings.batch,
        settings.seed,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        network = FilmCheckNetwork().to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.15
        )
        batches = DataLoader(examples, settings.batch, num_workers=workers)
        for batch in track(batches, settings.steps):
            loss = batch_loss(network, batch)  # type: ignore[arg-type]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
            optimiser.step()
            schedule.step()
    return network.eval()


def halved(picture_SS: Picture) -> Picture:
    """The picture as the network works on it: the exact 2×2 mean."""
    side = picture_SS.shape[0] // 2
    return np.asarray(cv2.resize(picture_SS, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def batch_loss(network: FilmCheckNetwork, batch: Sequence[Tensor]) -> Tensor:
    """The loss of one batch of `Examples`."""
    pictures_NSS, turn_N, inverted_N, cut_N4, chest_N, view_N = batch
    grey = pictures_NSS[:, None].float().contiguous(memory_format=torch.channels_last)
    answers: Answers = network.answers(grey)
    shows = chest_N > 0.5
    binary = nn.functional.binary_cross_entropy_with_logits
    loss = nn.functional.cross_entropy(answers.turn_N8[shows], turn_N[shows])
    loss = loss + binary(answers.inverted_N[shows], inverted_N[shows].float())
    loss = loss + _CUT_WEIGHT * binary(answers.cut_N4[shows], (cut_N4[shows] > 0).float())
    loss = loss + _CHEST_WEIGHT * binary(answers.chest_N, chest_N.float())
    if (view_N != _NO_VIEW).any():
        loss = loss + _VIEW_WEIGHT * nn.functional.cross_entropy(
            answers.view_N3, view_N, ignore_index=_NO_VIEW
        )
    return loss
