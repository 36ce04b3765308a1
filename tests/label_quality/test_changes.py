"""Changes between two versions of labels: held against plain loops over rows, and SciPy."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given
from scipy.stats import binom, norm

from tasks.label_quality.changes import (
    ACTIONS,
    DROPPED,
    NO_LABEL,
    OUTCOMES,
    action_indices,
    common_rows,
    derive_actions,
    find_changes,
    flow_matrix,
    jaccard,
    judge_labels,
    most_changed,
    share_margin,
    total_variation,
)
from tasks.pseudo_labels.threshold import repair
from tasks.sections import Section


def version(rng: np.random.Generator, n: int, n_classes: int = 3) -> dict[str, np.ndarray]:
    """A version of n labels, as two stages would leave it."""
    action = rng.integers(len(ACTIONS), size=n)
    label = rng.integers(n_classes, size=n)
    return {
        "is_issue": rng.random(n) < 0.5,
        "given_label": rng.integers(n_classes, size=n),
        "suggested_label": rng.integers(n_classes, size=n),
        "action": action,
        "label": np.where(action == DROPPED, NO_LABEL, label),
    }


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_every_change_is_what_a_loop_over_the_rows_finds(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = version(rng, n), version(rng, n)
    found = {name: set(np.flatnonzero(mask)) for name, mask in find_changes(old, new).items()}
    expected: dict[str, set[int]] = {name: set() for name in found}
    for row in range(n):
        before = {name: values[row] for name, values in old.items()}
        after = {name: values[row] for name, values in new.items()}
        was, now = ACTIONS[before["action"]], ACTIONS[after["action"]]
        if before["is_issue"] != after["is_issue"]:
            expected["newly flagged" if after["is_issue"] else "no longer flagged"].add(row)
        if before["suggested_label"] != after["suggested_label"]:
            expected["suggested differently"].add(row)
        if before["given_label"] != after["given_label"]:
            expected["given differently"].add(row)
        for action in ("relabelled", "dropped"):
            if (was == action) != (now == action):
                expected[f"{'newly' if now == action else 'no longer'} {action}"].add(row)
        if "dropped" not in (was, now) and before["label"] != after["label"]:
            expected["trained on another label"].add(row)
            if was == now == "relabelled":
                expected["relabelled otherwise"].add(row)
    assert found == expected
    pairs = Counter(zip(old["action"].tolist(), new["action"].tolist(), strict=True))
    flow = flow_matrix(old["action"], new["action"])
    assert {(i, j): flow[i, j] for i, j in np.argwhere(flow)} == pairs
    one, two = (set(np.flatnonzero(each["is_issue"])) for each in (old, new))
    assert jaccard(old["is_issue"], new["is_issue"]) == pytest.approx(
        len(one & two) / len(one | two) if one | two else float("nan"), nan_ok=True
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(["drop", "keep", "soft"]), st.floats(0, 1))
def test_actions_are_those_that_the_repair_took(seed: int, otherwise: str, min_confidence: float) -> None:
    rng = np.random.default_rng(seed)
    n, n_classes = 50, 4
    probs = rng.dirichlet(np.full(n_classes, 0.5), n).astype(np.float32)
    is_issue = rng.random(n) < 0.5
    evidence = make_evidence(rng.integers(n_classes, size=n), probs, is_issue, min_confidence, otherwise)
    made = repair(evidence, Section(), None, rng)
    is_soft = np.zeros(n, dtype=bool)
    is_soft[made.soft_rows] = made.soft_label.max(axis=1) < 1
    found = derive_actions(is_issue, made.is_kept, made.source, is_soft)
    # A row whose probabilities are a single class trains on that class, whichever name that goes by.
    certain = (made.action == "softened") & ~is_soft
    assert [ACTIONS[k] for k in found[~certain]] == made.action[~certain].tolist()
    np.testing.assert_array_equal([ACTIONS[k] for k in action_indices(made.action)], made.action)


def test_an_action_that_a_method_named_is_another() -> None:
    assert [ACTIONS[k] for k in action_indices(np.array(["kept", "set aside"]))] == ["kept", "other"]


def test_what_a_person_decided_outranks_the_rest() -> None:
    rows = np.array([True, False])
    found = derive_actions(rows, np.array([True, False]), np.array(["reviewed", "reviewed"]), ~rows)
    assert [ACTIONS[k] for k in found] == ["reviewed", "dropped"]


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)), st.randoms(use_true_random=False))
def test_rows_are_joined_by_id_in_any_order(old: set[int], new: set[int], random) -> None:
    first, second = list(old), list(new)
    random.shuffle(first)
    random.shuffle(second)
    first_ids, second_ids = np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
    places, others = common_rows(first_ids, second_ids)
    assert first_ids[places].tolist() == second_ids[others].tolist() == sorted(old & new)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_total_variation_is_the_largest_difference_over_sets_of_classes(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.dirichlet(np.ones(n_classes), (2, 5)).astype(np.float32)
    found = total_variation(one, two)
    sets = np.array([[(k >> c) & 1 for c in range(n_classes)] for k in range(2**n_classes)], dtype=bool)
    largest = np.array([[(p[s].sum() - q[s].sum()) for s in sets] for p, q in zip(one, two, strict=True)])
    np.testing.assert_allclose(found, largest.max(axis=1), atol=1e-6)
    # So no class's probability moved by more: what stands in where only one class's is known.
    assert (np.abs(one - two).max(axis=1) <= found + 1e-6).all()


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.0, 0.25, 0.3, 1.0]))
def test_the_most_changed_come_by_fate_judgement_and_distance(seed: int, size: int, least_of: float) -> None:
    rng = np.random.default_rng(seed)
    fate, judgement = rng.random((2, size)) < 0.3
    distance, least = rng.integers(4, size=(2, size)) / 4

    def place(row: int) -> tuple[float, ...]:
        return (0 if fate[row] else 1 if judgement[row] else 2, -distance[row], least[row], row)

    rows = [row for row in range(size) if fate[row] or judgement[row] or distance[row] >= least_of]
    assert most_changed(fate, judgement, distance, least, least_of).tolist() == sorted(rows, key=place)


@pytest.mark.parametrize("n", [5, 30, 200])
def test_equal_shares_seldom_differ_by_more_than_their_margin(n: int) -> None:
    """At most once in twenty, but for the steps of whole numbers: every outcome by its probability."""
    for share in np.linspace(0.005, 0.995, 34):
        probability = binom.pmf(np.arange(n + 1), n, share)
        beyond = sum(
            probability[i] * probability[j]
            for i in range(n + 1)
            for j in range(n + 1)
            if probability[i] * probability[j] > 1e-12 and abs(i - j) / n > share_margin(i / n, n, j / n, n)
        )
        assert beyond <= 0.06


def test_the_margin_is_that_of_the_binomial_distribution() -> None:
    expected = norm.ppf(0.975) * np.sqrt(0.99 * 0.01 / 10_000 + 0.98 * 0.02 / 6_000)
    assert share_margin(0.99, 10_000, 0.98, 6_000) == pytest.approx(expected, rel=0.02)
    assert share_margin(1.0, 10, 1.0, 10) > 0.1  # ten of ten prove little


def test_labels_are_right_wrong_or_dropped() -> None:
    found = judge_labels(np.array([2, 1, NO_LABEL]), np.array([2, 2, 2]))
    assert [OUTCOMES[k] for k in found] == ["right", "wrong", "dropped"]
