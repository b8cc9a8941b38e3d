"""The pieces of the fit: losses on cells, crops, batches, schedules, groups of layers, scores."""

from __future__ import annotations

import dataclasses
from itertools import chain

import numpy as np
import pytest
import torch

from cxrserve.findings import INDEX
from tests.training.fit_samples import FRACTURE, Killed, squares
from training.fit.batches import Source, TrainingBatches, Units, ValidationBatches
from training.fit.calibrate import calibrate_head
from training.fit.crops import load_crops
from training.fit.losses import PLACED, cell_loss, drift_loss, image_level_loss
from training.fit.optim import Plateau, freeze_body, layer_groups, make_optimiser, one_cycle
from training.fit.phases import phases_of
from training.fit.prefetch import Prefetch
from training.fit.scores import mean_auc, over_views
from training.networks.architectures import ARCHITECTURES
from training.networks.base import SmallNetwork
from training.recipes import Augmentation, SampleUnit, demo, recipe

SIZE = 128
CONFIG = dataclasses.replace(demo().fits[256], crop_pixels=64, augment=Augmentation())
IMAGES = SampleUnit()


def test_most_crops_hold_the_finding_they_are_aimed_at() -> None:
    generator = np.random.default_rng(2)
    held = []
    for _ in range(100):
        crops, places = load_crops(squares(), SIZE, np.arange(0, 8, 2), CONFIG, generator)
        assert crops.shape == (4, 1, 64, 64)
        assert places.shape == (4, 14, 2, 2)
        held.extend(places[:, FRACTURE].amax((1, 2)).tolist())
    assert np.mean(held) > 0.7


def test_the_loss_on_cells_is_least_for_evidence_at_the_place_and_silence_elsewhere() -> None:
    places = torch.zeros(2, 14, 4, 4)
    places[0, FRACTURE, 1, 2] = 1
    right, wrong, silent = 12 * places, torch.zeros_like(places), torch.zeros_like(places)
    wrong[0, FRACTURE, 3, 3] = 12
    wandering = 12 * places - 3 * (1 - places)
    losses = [float(cell_loss(evidence, places)) for evidence in (right, wandering, silent, wrong)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1]


def test_the_loss_on_cells_leaves_no_finding_alone() -> None:
    places = torch.zeros(1, 14, 2, 2)
    loud = torch.zeros(1, 14, 2, 2)
    loud[:, INDEX["No Finding"]] = 20
    assert INDEX["No Finding"] not in PLACED
    assert cell_loss(loud, places) == cell_loss(torch.zeros_like(loud), places)


def test_drift_is_what_absent_cells_add_up_to() -> None:
    places = torch.zeros(2, 14, 8, 8)
    places[0, FRACTURE, 0, 0] = 1
    balanced = torch.zeros_like(places)
    balanced[:, FRACTURE, 4:] = 1
    balanced[:, FRACTURE, :4] = -1
    biased = balanced.abs()
    assert drift_loss(12 * places, places) == 0
    assert drift_loss(biased, places) > drift_loss(balanced, places)


def test_the_loss_on_images_is_a_mean_over_what_is_known() -> None:
    logits = torch.randn(3, 14, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = (torch.arange(42).view(3, 14) % 3 == 0).float()
    labels[:, 4] = torch.nan
    known = torch.arange(14) != 4
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, known], labels[:, known])
    loss = image_level_loss(logits, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[:, 4].any()
    assert float(image_level_loss(logits, torch.full((3, 14), torch.nan)).detach()) == 0


def test_calibration_brings_the_logits_to_the_prevalence() -> None:
    torch.manual_seed(0)
    network, samples = SmallNetwork(SIZE), squares()
    calibrate_head(network, samples, SIZE, 8, np.random.default_rng(0))
    logits = network.train()(torch.from_numpy(samples.level_NSS)[:, None]).logits
    # bfloat16 keeps eight bits: the mean is met to a tenth.
    assert float(logits[:, FRACTURE].mean().detach()) == pytest.approx(0.0, abs=0.2)
    assert float(logits.std(0).max().detach()) == pytest.approx(1.5, abs=0.3)


def epoch_rows(units: int, batch: int, accumulate: int, processes: int, epoch: int = 0) -> list[list[int]]:
    """The units of each step of the optimiser, over all processes."""
    samples = squares(units, 64)
    source = Source(samples=samples, units=Units(samples, IMAGES), size=64)
    config = dataclasses.replace(
        CONFIG, batch=batch, accumulate=accumulate, crop_epochs=0, location_weight=0.0, augment=Augmentation()
    )
    (phase,) = phases_of(config)
    dealt = []
    for process in range(processes):
        loader = TrainingBatches(
            source=source,
            config=config,
            phase=phase,
            epoch=epoch,
            where=(0, 64),
            process=process,
            processes=processes,
        )
        assert len(loader) == len(list(loader))
        dealt.append([batch.rows.tolist() for batch in loader])
    turns = [list(chain(*together)) for together in zip(*dealt, strict=True)]
    return [list(chain(*turns[start : start + accumulate])) for start in range(0, len(turns), accumulate)]


def test_an_epoch_visits_every_image_at_most_once_and_each_epoch_in_another_order() -> None:
    steps = epoch_rows(10, 4, 1, 1)
    visited = list(chain(*steps))
    assert len(visited) == len(set(visited)) == 8
    assert steps != epoch_rows(10, 4, 1, 1, epoch=1)


def test_a_step_is_the_same_however_many_processes_share_it() -> None:
    alone = [sorted(step) for step in epoch_rows(26, 2, 6, 1)]
    assert [len(step) for step in alone] == [12, 12]
    assert [sorted(step) for step in epoch_rows(26, 2, 3, 2)] == alone
    assert [sorted(step) for step in epoch_rows(26, 2, 2, 3)] == alone


def test_processes_validate_every_unit_and_as_many_each() -> None:
    samples = squares(7, 64)
    source = Source(samples=samples, units=Units(samples, IMAGES), size=64)
    shares = [
        [
            batch.rows.tolist()
            for batch in ValidationBatches(source=source, batch=2, process=rank, processes=3)
        ]
        for rank in range(3)
    ]
    assert {len(share) for share in shares} == {2}
    assert {row for share in shares for rows in share for row in rows} == set(range(7))


def test_reading_ahead_keeps_the_order_and_tells_what_went_wrong() -> None:
    samples = squares(9, 64)
    source = Source(samples=samples, units=Units(samples, IMAGES), size=64)
    batches = ValidationBatches(source=source, batch=2, process=0, processes=1)
    assert len(Prefetch(batches)) == 5
    for read, ahead in zip(batches, Prefetch(batches), strict=True):
        assert read.rows.equal(ahead.rows)
        assert read.images.equal(ahead.images)
    samples.fails_at = samples.reads + 3
    with pytest.raises(Killed):
        list(Prefetch(batches))


def test_a_study_is_its_first_images() -> None:
    samples = squares(9, 64, views=1)
    samples.study_N = np.array([5, 2, 5, 5, 2, 5, 8, 8, 5])
    units = Units(samples, SampleUnit(kind="studies", max_views=3))
    assert len(units) == 3
    rows, owner = units.images(np.array([0, 1]))
    assert rows.tolist() == [1, 4, 0, 2, 3]
    assert owner.tolist() == [0, 0, 1, 1, 1]
    batch = Source(samples=samples, units=units, size=64).batch(np.array([1, 2]), 0, with_locations=False)
    assert batch.images.shape == (5, 1, 64, 64)
    assert batch.labels.shape == (2, 14)
    assert np.array_equal(batch.labels.numpy(), samples.labels_NF[[0, 6]])


def test_views_are_pooled_by_their_maximum_or_mean_probability() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-3.0, 0.5]], requires_grad=True)
    owner = torch.tensor([0, 0, 1])
    maximum = over_views(logits, owner, 2, SampleUnit(kind="studies"))
    torch.testing.assert_close(maximum, torch.tensor([[2.0, 1.0], [-3.0, 0.5]]))
    mean = over_views(logits, owner, 2, SampleUnit(kind="studies", over_views="mean")).sigmoid()
    torch.testing.assert_close(mean[0], logits[:2].sigmoid().mean(0))
    maximum.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 1], [1, 0], [1, 1]]


def test_the_auc_is_the_mean_over_findings_that_have_both_classes() -> None:
    logits = torch.tensor([[1.0, 40.0, 1.0], [2.0, 41.0, 1.0], [3.0, 42.0, 1.0], [0.0, 43.0, 1.0]])
    labels = torch.tensor([[0, 0, 1], [1, 0, 1], [1, 1, 1], [1, 0, 1]]).float()
    assert mean_auc(logits, labels) == pytest.approx((2 / 3 + 2 / 3) / 2)
    labels[3] = torch.nan
    assert mean_auc(logits, labels) == pytest.approx(1.0)
    assert mean_auc(logits, torch.ones(4, 3)) is None


def test_the_plateau_cuts_after_three_epochs_and_stops_after_ten() -> None:
    config = recipe("haque2021").fits[256]
    plateau = Plateau()
    factors = []
    for loss in [1.0, 0.9, *[0.95] * 10]:
        assert not plateau.stops(config)
        factors.append(plateau.update(loss, config))
    assert [index for index, factor in enumerate(factors) if factor == 0.5] == [4, 7, 10]
    assert plateau.stops(config)


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 5])
def test_a_cycle_of_few_steps_is_a_cycle(steps: int) -> None:
    network, config = SmallNetwork(64), dataclasses.replace(demo().fits[256], rise=0.25, learning_rate=1e-3)
    optimiser = make_optimiser(network, config, 1e-3)
    schedule = one_cycle(optimiser, config, steps)
    rates = [optimiser.param_groups[-1]["lr"]]
    for _ in range(steps - 1):
        optimiser.step()
        schedule.step()
        rates.append(optimiser.param_groups[-1]["lr"])
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert rates[-1] < 1e-6


def test_densenet_is_cut_as_fastai_cuts_it() -> None:
    network = ARCHITECTURES["densenet121"](64)
    first, second, head = layer_groups(network, 3)
    names = {id(module): name for name, module in network.body[0].named_children()}  # type: ignore[index]
    assert names[id(first[-1])] == "denseblock2"
    assert names[id(second[0])] == "transition2"
    assert len(first) == len(second) == 5
    assert head == [network.head]


def test_discriminative_rates_and_decay_reach_their_layers() -> None:
    config = recipe("chizari").fits[320]
    network = ARCHITECTURES["densenet121"](64, head="concat")
    groups = make_optimiser(network, config, 2.5e-3).param_groups
    body, head = (set(map(id, part.parameters())) for part in (network.body, network.head))
    for group in groups:
        in_head = {id(one) in head for one in group["params"]}
        assert len(in_head) == 1
        assert group["lr"] == pytest.approx(2.5e-3 if in_head == {True} else 2.5e-5)
        assert group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0.0)
    learning = {id(one) for group in groups for one in group["params"]}
    assert learning == {one for one in body | head if one != id(network.head.log_gain)}


def test_a_frozen_body_learns_in_its_normalisations_alone() -> None:
    network = SmallNetwork(64)
    freeze_body(network, True)
    shapes = {one.ndim for one in network.body.parameters() if one.requires_grad}
    assert shapes == {1}
    freeze_body(network, False)
    assert all(one.requires_grad for one in network.body.parameters())


def test_the_rate_follows_the_effective_batch() -> None:
    fit = dataclasses.replace(recipe("haque2021").fits[1024], batch=6, accumulate=4)
    (phase,) = phases_of(fit)
    assert phase.peak(fit.reference_batch, processes=1) == pytest.approx(1e-4 * 24 / 32)
    assert phase.peak(fit.reference_batch, processes=6) == pytest.approx(1e-4 * 144 / 32)
    assert phase.peak(None, processes=6) == 1e-4
