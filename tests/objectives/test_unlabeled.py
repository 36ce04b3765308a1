"""Objectives that learn from rows without a label: against their equations, and in training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_trainings import accuracy, bar_rows, bars, build, cluster_rows
from torch.nn import functional

from tasks import DatasetError, ParamsError, plugins
from tasks.contents import Images
from tasks.objectives import arazo2020, consistency, fixmatch, lee2013
from tasks.training.batches import Batch, beside, ramp, remember
from tasks.training.loop import Average
from tasks.training.networks import generalized_cross_entropy
from tasks.training.protocol import Loss
from tasks.training.strong_changes import StrongChanges

ALL = ("arazo2020", "consistency", "fixmatch", "lee2013")
UNCHANGED = dict.fromkeys(StrongChanges.model_fields, 0)


class Linear:
    """A network as objectives see it: of vectors, which it changes by adding 1."""

    def __init__(self, progress: float = 1.0, n_unlabeled: int = 8) -> None:
        self.weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        self.taught = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
        self.progress, self.n_unlabeled, self.memory = progress, n_unlabeled, {}
        self.label_prob = 1.0
        self.observed = torch.zeros(0)

    def __call__(self, content: torch.Tensor) -> torch.Tensor:
        return content @ self.weights

    def teach(self, content: torch.Tensor) -> torch.Tensor:
        return content @ self.taught

    def change(self, content: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return content + 1

    def row_losses(self, logits: torch.Tensor, soft_label: torch.Tensor) -> torch.Tensor:
        return generalized_cross_entropy(logits, soft_label, 0.0)

    def observe(self, batch: Batch, logits: torch.Tensor) -> None:
        self.observed = logits


def batch_of(seed: int = 0, n_unlabeled: int = 8) -> Batch:
    rng = np.random.default_rng(seed)
    label = torch.arange(5) % 3
    return Batch(
        content=torch.from_numpy(rng.normal(size=(5, 4)).astype(np.float32)),
        label=label,
        soft_label=torch.eye(3)[label],
        weight=torch.from_numpy(rng.uniform(0.1, 2, 5).astype(np.float32)),
        rows=torch.arange(5),
        unlabeled=torch.from_numpy(rng.normal(size=(n_unlabeled, 4)).astype(np.float32)),
        unlabeled_rows=torch.arange(n_unlabeled),
    )


def found(objective: Any, network: Linear, batch: Batch, **options: Any) -> torch.Tensor:
    loss: torch.Tensor = objective.loss(
        network, batch, objective.Options(**options), torch.Generator().manual_seed(0)
    )
    return loss


def labelled(network: Linear, batch: Batch) -> torch.Tensor:
    losses = functional.cross_entropy((batch.content + 1) @ network.weights, batch.label, reduction="none")
    return (losses * batch.weight).sum() / batch.weight.sum()


@pytest.mark.parametrize("name", ALL)
def test_without_unlabelled_rows_the_loss_is_the_supervised_one(name: str) -> None:
    network, batch = Linear(), batch_of()._replace(unlabeled=None, unlabeled_rows=torch.arange(0))
    loss = found(plugins.load("objectives", name), network, batch)
    torch.testing.assert_close(loss, labelled(network, batch))
    assert len(network.observed) == 5


@pytest.mark.parametrize(("progress", "share"), [(0.05, 0.0), (0.35, 0.5), (0.9, 1.0)])
def test_lee2013_takes_the_surest_class_as_right_with_a_weight_that_rises(
    progress: float, share: float
) -> None:
    network, batch = Linear(progress), batch_of()
    others = (batch.unlabeled + 1) @ network.weights  # type: ignore[operator]
    pseudo = functional.cross_entropy(others, others.argmax(dim=1))
    loss = found(lee2013, network, batch, weight=3.0, start=0.1, full=0.6, align=False, min_confidence=0)
    torch.testing.assert_close(loss, labelled(network, batch) + 3 * share * pseudo)


def test_lee2013_counts_sure_rows_and_says_each_class_as_often_as_the_labels_do() -> None:
    network, batch = Linear(), batch_of(n_unlabeled=60)
    others = (batch.unlabeled + 1) @ network.weights  # type: ignore[operator]
    probs = others.detach().softmax(dim=1)
    aligned = probs * batch.soft_label.mean(dim=0) / probs.mean(dim=0)
    aligned = aligned / aligned.sum(dim=1, keepdim=True)
    sureness, target = aligned.max(dim=1)
    assert (target != others.argmax(dim=1)).any()
    sure = (sureness >= 0.8).float()
    assert 0 < sure.sum() < 60
    pseudo = (functional.cross_entropy(others, target, reduction="none") * sure).mean()
    loss = found(lee2013, network, batch, align=True, min_confidence=0.8)
    torch.testing.assert_close(loss, labelled(network, batch) + pseudo)


def test_consistency_asks_for_the_teachers_sharpened_probabilities() -> None:
    network, batch = Linear(), batch_of()
    taught = (batch.unlabeled + 1) @ network.taught  # type: ignore[operator]
    target = (taught / 0.5).softmax(dim=1)
    said = batch.unlabeled @ network.weights  # type: ignore[operator]
    unlike = functional.cross_entropy(said, target, reduction="none")
    loss = found(consistency, network, batch, **UNCHANGED)
    torch.testing.assert_close(loss, labelled(network, batch) + unlike.mean())
    sure = (taught.softmax(dim=1).amax(dim=1) >= 0.8).float()
    assert 0 < sure.sum() < 8
    loss = found(consistency, network, batch, **UNCHANGED, min_confidence=0.8)
    torch.testing.assert_close(loss, labelled(network, batch) + (unlike * sure).mean())


def test_fixmatch_takes_the_sure_classes_of_the_teacher() -> None:
    network, batch = Linear(), batch_of()
    probs = ((batch.unlabeled + 1) @ network.taught).softmax(dim=1)  # type: ignore[operator]
    sureness, target = probs.max(dim=1)
    sure = (sureness >= 0.8).float()
    assert 0 < sure.sum() < 8
    unlike = functional.cross_entropy(
        batch.unlabeled @ network.weights,  # type: ignore[operator]
        target,
        reduction="none",
    )
    loss = found(fixmatch, network, batch, **UNCHANGED, align=False, min_confidence=0.8, weight=2.0)
    torch.testing.assert_close(loss, labelled(network, batch) + 2 * (unlike * sure).mean())


def test_aligned_predictions_say_each_class_as_often_as_the_labels_do() -> None:
    network, batch = Linear(), batch_of(n_unlabeled=60)
    probs = ((batch.unlabeled + 1) @ network.taught).softmax(dim=1)  # type: ignore[operator]
    aligned = probs * batch.soft_label.mean(dim=0) / probs.mean(dim=0)
    target = aligned.argmax(dim=1)
    assert (target != probs.argmax(dim=1)).any()
    unlike = functional.cross_entropy(batch.unlabeled @ network.weights, target)  # type: ignore[operator]
    loss = found(fixmatch, network, batch, **UNCHANGED, min_confidence=0.0)
    torch.testing.assert_close(loss, labelled(network, batch) + unlike)


def test_a_class_that_is_seldom_predicted_has_a_lower_cut() -> None:
    network, batch = Linear(), batch_of()
    probs = ((batch.unlabeled + 1) @ network.taught).softmax(dim=1)  # type: ignore[operator]
    sureness, target = probs.max(dim=1)
    mean = probs.mean(dim=0)
    sure = (sureness >= (0.8 * mean / mean.max())[target]).float()
    assert sure.sum() > (sureness >= 0.8).sum()
    unlike = functional.cross_entropy(
        batch.unlabeled @ network.weights,  # type: ignore[operator]
        target,
        reduction="none",
    )
    loss = found(fixmatch, network, batch, **UNCHANGED, align=False, min_confidence=0.8, class_cuts=True)
    torch.testing.assert_close(loss, labelled(network, batch) + (unlike * sure).mean())


@pytest.mark.parametrize("name", ["consistency", "fixmatch", "lee2013"])
def test_a_cut_is_a_share_of_what_smoothed_labels_teach(name: str) -> None:
    objective, batch = plugins.load("objectives", name), batch_of(n_unlabeled=60)
    network = Linear()
    cuts = [found(objective, network, batch, min_confidence=cut).item() for cut in (0.6, 0.8)]
    assert cuts[0] != cuts[1]
    network.label_prob = 0.75
    assert found(objective, network, batch, min_confidence=0.8).item() == pytest.approx(cuts[0])


def test_running_means_stay_where_they_are() -> None:
    """A GPU that replays a step reads and writes the same places."""
    memory: dict[str, torch.Tensor] = {}
    values = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    place = remember(memory, "predicted", values[0]).data_ptr()
    expected = values[0]
    for value in values[1:]:
        expected = 0.99 * expected + 0.01 * value
        found_mean = remember(memory, "predicted", value)
        torch.testing.assert_close(found_mean, expected)
        assert found_mean.data_ptr() == place


def test_averaged_weights_forget_their_start_and_then_follow_slowly() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.BatchNorm1d(1)
    average = Average(layer, decay=0.8)  # type: ignore[arg-type]
    expected = {"weight": 1.0, "running_mean": 0.0}
    for n, value in enumerate(values.tolist()):
        with torch.no_grad():
            layer.weight.fill_(value)
            layer.running_mean.fill_(-value)  # type: ignore[union-attr]
        average.update(layer)  # type: ignore[arg-type]
        kept = min(0.8, (1 + n) / (10 + n))
        for name, new in (("weight", value), ("running_mean", -value)):
            expected[name] = kept * expected[name] + (1 - kept) * new
    state = average.classifier.state_dict()
    assert {name: float(state[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert not any(weight.requires_grad for weight in average.parameters())


def test_batch_norms_of_averaged_weights_follow_what_they_are_shown_unless_frozen() -> None:
    """Not the student's, which are of rows changed strongly."""
    student = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2))
    student[1].eval()
    average = Average(student, decay=0.8)  # type: ignore[arg-type]
    shown = 5 + 3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(100):
        with torch.no_grad():
            student(shown - 7)
            taught = average.teach(shown, student)  # type: ignore[arg-type]
        average.update(student)  # type: ignore[arg-type]
    first, second = average.classifier.children()
    torch.testing.assert_close(first.running_mean, shown.mean(dim=0))
    torch.testing.assert_close(first.running_var, shown.var(dim=0))
    assert (second.running_mean == 0).all()
    assert (second.running_var == 1).all()
    standardised = (shown - shown.mean(dim=0)) / shown.std(dim=0)
    torch.testing.assert_close(taught, standardised, rtol=1e-3, atol=1e-3)
    # What predicts follows nothing.
    average.classifier.eval()(shown + 100)
    torch.testing.assert_close(first.running_mean, shown.mean(dim=0))


def test_arazo2020_learns_from_the_soft_labels_of_the_epoch_before() -> None:
    network, batch = Linear(), batch_of()
    plain = {"alpha": 0.0, "balance": 0.0, "entropy": 0.0, "warm_up": 0.0, "align": False}
    first = batch.unlabeled @ network.taught  # type: ignore[operator]
    found(arazo2020, network, batch, **plain)
    network.taught = network.taught.flip(0)
    loss = found(arazo2020, network, batch, **plain)
    content = torch.cat([batch.content, batch.unlabeled]) + 1  # type: ignore[list-item]
    target = torch.cat([batch.soft_label, first.softmax(dim=1)])
    weight = torch.cat([batch.weight, torch.ones(8)])
    losses = functional.cross_entropy(content @ network.weights, target, reduction="none")
    torch.testing.assert_close(loss, (losses * weight).sum() / weight.sum())
    # What is taught today waits for the next epoch.
    today = (batch.unlabeled @ network.taught).softmax(dim=1)  # type: ignore[operator]
    torch.testing.assert_close(network.memory["soft"], today)


def test_soft_labels_of_arazo2020_say_each_class_as_often_as_the_labels_do() -> None:
    network, batch = Linear(n_unlabeled=60), batch_of(n_unlabeled=60)
    plain = {"alpha": 0.0, "balance": 0.0, "entropy": 0.0, "warm_up": 0.0}
    soft = (batch.unlabeled @ network.taught).softmax(dim=1)  # type: ignore[operator]
    aligned = soft * batch.soft_label.mean(dim=0) / soft.mean(dim=0)
    aligned = aligned / aligned.sum(dim=1, keepdim=True)
    loss = found(arazo2020, network, batch, **plain)
    content = torch.cat([batch.content, batch.unlabeled]) + 1  # type: ignore[list-item]
    weight = torch.cat([batch.weight, torch.ones(60)])
    losses = functional.cross_entropy(
        content @ network.weights, torch.cat([batch.soft_label, aligned]), reduction="none"
    )
    torch.testing.assert_close(loss, (losses * weight).sum() / weight.sum())
    # What is kept for the next epoch is what the network says.
    torch.testing.assert_close(network.memory["soft"], soft)


def test_arazo2020_weighs_balance_and_entropy_and_begins_with_labelled_rows() -> None:
    network, batch = Linear(), batch_of()
    options = {"alpha": 0.0, "warm_up": 0.0}
    none = found(arazo2020, network, batch, **options, balance=0.0, entropy=0.0)
    content = torch.cat([batch.content, batch.unlabeled]) + 1  # type: ignore[list-item]
    probs = (content @ network.weights).softmax(dim=1)
    wanted = batch.soft_label.mean(dim=0)
    balance = (wanted * (wanted / probs.mean(dim=0)).log()).sum()
    entropy = -(probs * probs.log()).sum(dim=1).mean()
    loss = found(arazo2020, network, batch, **options, balance=0.8, entropy=0.4)
    torch.testing.assert_close(loss, none + 0.8 * balance + 0.4 * entropy)
    early = Linear(progress=0.05)
    torch.testing.assert_close(found(arazo2020, early, batch), labelled(early, batch))


@given(st.integers(2, 60), st.integers(0, 90), st.integers(2, 40), st.integers(1, 8), st.integers(0, 2**31))
def test_a_batch_has_unlabelled_rows_beside_labelled_ones_and_an_epoch_all(
    n_labeled: int, n_unlabeled: int, batch_size: int, ratio: int, seed: int
) -> None:
    drawn = [
        list(beside(n_labeled, n_unlabeled, batch_size, ratio, torch.Generator().manual_seed(seed)))
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    own = [row for places in drawn[0] for row in places.labeled]
    others = [row for places in drawn[0] for row in places.unlabeled]
    if not n_unlabeled:
        assert len(set(own)) == len(own) > n_labeled - min(batch_size, n_labeled)
        return
    most = min(batch_size, max(n_labeled, n_unlabeled))
    sizes = (max(most // ratio, 2), most) if n_unlabeled >= n_labeled else (most, max(most // ratio, 2))
    assert {(len(places.labeled), len(places.unlabeled)) for places in drawn[0]} == {sizes}
    for rows, n_rows, of_batch in ((own, n_labeled, sizes[0]), (others, n_unlabeled, sizes[1])):
        counts = np.bincount(rows, minlength=n_rows)
        assert counts.max() - counts.min() <= 1, "rows come again when all others have come"
        assert len(rows) > n_rows - of_batch


def test_a_weight_rises_in_a_line() -> None:
    assert [ramp(at, 0.2, 0.6) for at in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [ramp(at, 0.0, 0.0) for at in (0.0, 0.5)] == [0, 1]


# --- in training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_it_trains_repeatably_on_pictures(tmp_path: Path, name: str) -> None:
    rows, others = bar_rows(16), Images(bars(256, seed=3)[0])
    test = bar_rows(200, seed=5)
    options: dict[str, Any] = {"ratio": 2}
    if name in ("consistency", "fixmatch"):
        options |= {"degrees": 5.0, "shear": 0.0, "shift": 1.0, "elastic": 0.0, "cutout": 2, "decay": 0.9}
    if name == "lee2013":  # after so few steps no row is sure
        options |= {"min_confidence": 0.3}
    probs = []
    for _ in range(2):
        model = build(tmp_path, rows.content, objective=name, objective_options=options, epochs=4)
        model.fit(rows, test.take(slice(0, 16)), others)
        probs.append(model.predict(test.content).pred_probs)
    assert np.array_equal(*probs)
    assert accuracy(model, test) > 0.8


@pytest.mark.parametrize("name", ["arazo2020", "fixmatch"])
def test_a_frozen_batch_norm_keeps_its_statistics(tmp_path: Path, name: str) -> None:
    class Frozen(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            pl_module.classifier.network[1].eval()

    rows, others = bar_rows(16), Images(bars(100, seed=3)[0])
    model = build(tmp_path, rows.content, objective=name)
    model._recipe = replace(model._recipe, callbacks=lambda: [Frozen()])  # type: ignore[attr-defined]
    model.fit(rows, None, others)
    first, second = (model._fitted().network[place] for place in (1, 4))  # type: ignore[attr-defined]
    assert torch.equal(first.running_mean, torch.zeros(16))
    assert torch.equal(first.running_var, torch.ones(16))
    assert not torch.equal(second.running_var, torch.ones(32))


def test_a_network_that_learns_smoothed_labels_is_asked_for_no_more_than_they_say(tmp_path: Path) -> None:
    asked = []

    class Ask(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            asked.append(pl_module.label_prob)

    rows = bar_rows(16)
    for smoothing in (0.0, 0.2):
        model = build(tmp_path, rows.content, loss=Loss(gce_q=0.0, label_smoothing=smoothing), epochs=1)
        model._recipe = replace(model._recipe, callbacks=lambda: [Ask()])  # type: ignore[attr-defined]
        model.fit(rows, None)
    # 1 less 0.2, of which a half is of the right one of two classes.
    assert asked == [1.0, pytest.approx(0.9)]


def test_vectors_of_numbers_are_learned_from_too(tmp_path: Path) -> None:
    rows, others, test = cluster_rows(45), cluster_rows(300, seed=1), cluster_rows(300, seed=2)
    settings = {"objective_options": {"swap": 0.1}, "batch_size": 64, "min_steps": 60}
    model = build(tmp_path, rows.content, name="mlp", n_classes=3, objective="fixmatch", **settings)
    model.fit(rows, None, others.content)
    # The clusters overlap: with all labels it is 0.85.
    assert accuracy(model, test) > 0.75


def test_a_model_that_takes_no_unlabelled_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="by which the model logistic can be trained, found fixmatch"):
        build(tmp_path, bar_rows(16).content, name="logistic", objective="fixmatch")


def test_rows_that_are_neither_pictures_nor_numbers_are_not_changed() -> None:
    tokens = batch_of()._replace(unlabeled=torch.ones(8, 4, dtype=torch.int64))
    network = Linear()
    network.teach = lambda content: torch.zeros(len(content), 3)  # type: ignore[method-assign]
    with pytest.raises(DatasetError, match="pictures and vectors of numbers at random, found rows that are"):
        found(fixmatch, network, tokens)
