"""The fit: what it keeps, how it resumes, what it refuses."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.fit_samples import ArraySamples, Killed, squares
from training.fit import Epoch, FitError, FitResult, fit_member
from training.networks.architectures import ARCHITECTURES
from training.networks.base import SmallNetwork
from training.recipes import Augmentation, FitConfig, demo

SIZE = 128
# Two epochs on crops, three on images, with everything the demo has.
DEMO = dataclasses.replace(
    demo().fits[256],
    epochs=3,
    crop_epochs=2,
    batch=4,
    crop_batch=4,
    crop_pixels=64,
    best="loss",
    validate_every=1,
)
PLAIN = dataclasses.replace(DEMO, crop_epochs=0, location_weight=0.0, precision="32")


def fitted(
    folder: Path,
    config: FitConfig = DEMO,
    training: ArraySamples | None = None,
    validation: ArraySamples | None = None,
    seed: int = 3,
    epochs: list[Epoch] | None = None,
) -> tuple[SmallNetwork, FitResult]:
    torch.manual_seed(seed)
    network = SmallNetwork(SIZE)
    result = fit_member(
        network,
        training or squares(),
        validation or squares(),
        SIZE,
        config,
        folder=folder,
        seed=seed,
        on_epoch=None if epochs is None else epochs.append,
    )
    return network, result


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=0, atol=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallNetwork, FitResult]:
    """An uninterrupted fit."""
    return fitted(tmp_path_factory.mktemp("whole"))


def test_every_epoch_is_told_and_written_down(tmp_path: Path) -> None:
    epochs: list[Epoch] = []
    _, result = fitted(tmp_path, epochs=epochs)
    assert tuple(epochs) == result.epochs
    assert [(epoch.number, epoch.phase) for epoch in epochs] == list(
        enumerate(["crops", "crops", "images", "images", "images"])
    )
    assert {epoch.total for epoch in epochs} == {5}
    assert all((epoch.image_loss is None) == (epoch.phase == "crops") for epoch in epochs)
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert rows[0]["image_loss"] == ""
    assert float(rows[4]["validation_loss"]) == pytest.approx(epochs[4].validation_loss, rel=1e-4)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = {scalar.step: scalar.value for scalar in events.Scalars("validation_loss")}
    assert losses == pytest.approx({epoch.number: epoch.validation_loss for epoch in epochs[2:]})


def test_the_same_seed_fits_the_same_network_and_another_one_another(
    whole: tuple[SmallNetwork, FitResult], tmp_path: Path
) -> None:
    assert_same_weights(fitted(tmp_path / "same")[0], whole[0])
    other = fitted(tmp_path / "other", seed=4)[0]
    assert not torch.equal(other.head.bias, whole[0].head.bias)


# Readings of the training level: 8 in each epoch of crops, 2 for the calibration, 2 in each epoch of images.
@pytest.mark.parametrize("fails_at", [[3], [11, 5], [22], [19, 1]])
def test_a_fit_that_died_goes_on_to_the_very_same_weights(
    fails_at: list[int], whole: tuple[SmallNetwork, FitResult], tmp_path: Path
) -> None:
    for reading in fails_at:
        samples = squares()
        samples.fails_at = reading
        with pytest.raises(Killed):
            fitted(tmp_path, training=samples)
    network, result = fitted(tmp_path)
    assert_same_weights(network, whole[0])
    figures = [(epoch.image_loss, epoch.location_loss, epoch.validation_auc) for epoch in result.epochs]
    assert figures == [(one.image_loss, one.location_loss, one.validation_auc) for one in whole[1].epochs]


@pytest.mark.parametrize("schedule", ["plateau", "one-cycle"])
def test_schedules_go_on_where_they_were(schedule: str, tmp_path: Path) -> None:
    # Learning the training labels makes these worse, so that the plateau has something to count.
    validation = squares()
    validation.labels_NF = 1 - validation.labels_NF
    config = dataclasses.replace(PLAIN, schedule=schedule, patience=2, epochs=6, optimiser="adam")  # type: ignore[arg-type]
    straight, result = fitted(tmp_path / "straight", config, validation=validation)
    samples = squares()
    samples.fails_at = 8
    with pytest.raises(Killed):
        fitted(tmp_path / "resumed", config, samples, validation)
    resumed, again = fitted(tmp_path / "resumed", config, validation=validation)
    assert_same_weights(straight, resumed)
    rates = [epoch.learning_rate for epoch in result.epochs]
    assert rates == [epoch.learning_rate for epoch in again.epochs]
    assert len(set(rates)) > 1


def test_deterministic_mode_leaves_no_trace(tmp_path: Path) -> None:
    network, _ = fitted(tmp_path / "one", dataclasses.replace(PLAIN, deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    assert_same_weights(network, fitted(tmp_path / "other", PLAIN)[0])


def test_accumulated_batches_make_one_step(tmp_path: Path) -> None:
    config = dataclasses.replace(
        PLAIN, batch=2, accumulate=4, epochs=1, schedule="plateau", augment=Augmentation()
    )
    network, _ = fitted(tmp_path, config)
    torch.manual_seed(3)
    by_hand = SmallNetwork(SIZE).train()
    optimiser = torch.optim.AdamW(by_hand.parameters(), config.learning_rate, weight_decay=1e-3)
    samples = squares()
    order = np.random.default_rng((3, SIZE, 2, 0)).permutation(8)
    for start in range(0, 8, 2):
        rows = np.sort(order[start : start + 2])
        logits = by_hand(torch.from_numpy(samples.level_NSS[rows])[:, None]).logits
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.from_numpy(samples.labels_NF[rows])
        )
        (loss / 4).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(by_hand.parameters(), config.clip_norm)
    optimiser.step()
    for one, other in zip(network.parameters(), by_hand.parameters(), strict=True):
        # Adam's first step is the sign of the gradient, 1.5e-3 of it: one that is nearly nought may turn.
        assert float((one - other).abs().mean().detach()) < 1e-6


def test_a_memory_efficient_densenet_learns_the_same(tmp_path: Path) -> None:
    config = dataclasses.replace(PLAIN, batch=4, epochs=1)
    losses = []
    for efficient in (False, True):
        torch.manual_seed(0)
        network = ARCHITECTURES["densenet121"](64, memory_efficient=efficient)
        folder, samples = tmp_path / str(efficient), squares(size=64)
        result = fit_member(network, samples, samples, 64, config, folder=folder, seed=0)
        losses.append(result.epochs[0].image_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_finished_fit_is_not_fitted_again(whole: tuple[SmallNetwork, FitResult]) -> None:
    epochs: list[Epoch] = []
    network, result = fitted(whole[1].weights.parent, epochs=epochs)
    assert not epochs
    assert result == whole[1]
    assert_same_weights(network, whole[0])


def test_another_fit_in_the_same_folder_is_refused(whole: tuple[SmallNetwork, FitResult]) -> None:
    with pytest.raises(ValueError, match="holds another fit"):
        fitted(whole[1].weights.parent, dataclasses.replace(DEMO, learning_rate=1e-4))


@pytest.mark.parametrize("best", ["loss", "auc", "last"])
def test_the_weights_of_the_best_epoch_are_kept(best: str, tmp_path: Path) -> None:
    # A rate that is too high: the last epoch is not the best.
    config = dataclasses.replace(PLAIN, best=best, epochs=5, learning_rate=0.05)  # type: ignore[arg-type]
    network, result = fitted(tmp_path, config)
    losses = [epoch.validation_loss for epoch in result.epochs]
    aucs = [epoch.validation_auc for epoch in result.epochs]
    expected = {"loss": int(np.argmin(losses)), "auc": int(np.argmax(aucs)), "last": 4}[best]  # type: ignore[arg-type]
    assert result.kept_epoch == expected
    samples = squares()
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(samples.level_NSS)[:, None]).logits
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(samples.labels_NF))
    assert float(loss) == pytest.approx(losses[expected], rel=1e-3)


def test_a_plateau_halves_the_rate_and_stops(tmp_path: Path) -> None:
    validation = squares()
    # Learning the training labels makes these worse.
    validation.labels_NF = 1 - validation.labels_NF
    config = dataclasses.replace(
        PLAIN,
        schedule="plateau",
        optimiser="adam",
        epochs=50,
        patience=2,
        stop_after=5,
        augment=Augmentation(),
    )
    _, result = fitted(tmp_path, config, validation=validation)
    assert result.stopped_early
    assert len(result.epochs) == result.kept_epoch + 1 + 5 < 50
    rates = [epoch.learning_rate / config.learning_rate for epoch in result.epochs[result.kept_epoch :]]
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])
    assert len(fitted(tmp_path, config, validation=validation)[1].epochs) == len(result.epochs)


def test_findings_that_nothing_is_known_about_are_never_moved(tmp_path: Path) -> None:
    masked = squares()
    masked.labels_NF[:, 8:] = np.nan
    network, result = fitted(tmp_path, PLAIN, training=masked)
    assert not network.head.bias[8:].any()
    assert network.head.bias[:8].all()
    assert all(np.isfinite(epoch.image_loss) for epoch in result.epochs)  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_ends_the_fit_with_advice(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="lower learning_rate"):
        fitted(tmp_path, dataclasses.replace(PLAIN, learning_rate=1e30, clip_norm=0.0, epochs=5))


def test_an_auc_that_cannot_be_had_ends_the_fit(tmp_path: Path) -> None:
    validation = squares()
    validation.labels_NF[:] = 0
    with pytest.raises(FitError, match="set best to loss"):
        fitted(tmp_path, dataclasses.replace(PLAIN, best="auc"), validation=validation)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dataclasses.replace(PLAIN, batch=16), "8 training samples do not fill one step of 16"),
        (dataclasses.replace(PLAIN, batch=4, accumulate=3), "do not fill one step of 12"),
        (dataclasses.replace(PLAIN, precision="fp16"), "fp16 needs a GPU"),
        (dataclasses.replace(PLAIN, synchronise_norms=True), "synchronise_norms needs GPUs"),
        (dataclasses.replace(PLAIN, layer_rates=(0.1,) * 12), "12 entries"),
        (dataclasses.replace(DEMO, crop_pixels=100), "multiple of 32"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused is refused without a GPU")
def test_what_cannot_be_is_refused_at_once(config: FitConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(tmp_path, config)


def test_a_loss_on_cells_needs_places(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only phantoms do"):
        fitted(tmp_path, DEMO, training=squares(places=False))
