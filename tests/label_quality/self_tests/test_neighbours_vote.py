import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from tasks.label_quality.self_tests import neighbours_vote
from tasks.label_quality.self_tests.neighbours_vote import N_VOTERS, UNASKED, ask_neighbours


def blocks(embedding, size=10_000):
    return lambda: iter([embedding[start : start + size] for start in range(0, len(embedding), size)])


def test_the_vote_is_that_of_the_nearest_rows_of_the_own_fold_without_the_own_label() -> None:
    digits = load_digits()
    embedding, labels = digits.data.astype(np.float32), digits.target
    fold = np.arange(len(labels)) % 5
    found = ask_neighbours(blocks(embedding), labels, fold, np.arange(len(labels)))
    for number in range(5):
        rows = np.flatnonzero(fold == number)
        searched = NearestNeighbors(n_neighbors=N_VOTERS).fit(embedding[rows])
        cast = labels[rows][searched.kneighbors(return_distance=False)]
        votes = np.array([np.bincount(each, minlength=10) for each in cast])
        top = np.sort(votes, axis=1)
        clear = top[:, -1] > top[:, -2]
        assert clear.mean() > 0.9
        assert found[rows][clear].tolist() == votes.argmax(axis=1)[clear].tolist()
        # Of equally many votes one of the winners is chosen.
        assert (votes[np.arange(len(rows)), found[rows]] == top[:, -1]).all()
    assert (found == labels).mean() > 0.9
    # The own label has no vote: made wrong, it changes nothing for its row.
    wrong = labels.copy()
    wrong[7] = (wrong[7] + 1) % 10
    assert ask_neighbours(blocks(embedding), wrong, fold, np.array([7])) == found[7]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 60), st.integers(1, 4), st.integers(0, 1_000), st.integers(1, 9))
def test_blocks_chunks_and_portions_change_nothing(
    n: int, size: int, n_folds: int, seed: int, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    # Few values, so that many rows are equally near.
    embedding = rng.integers(3, size=(n, 2)).astype(np.float32)
    labels, fold = rng.integers(4, size=n), rng.integers(n_folds, size=n)
    queries = np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False))
    expected = ask_neighbours(blocks(embedding), labels, fold, queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours_vote, "_CHUNK_BYTES", 8 * chunk)
        patch.setattr(neighbours_vote, "_QUERY_BYTES", 8 * chunk)
        assert ask_neighbours(blocks(embedding, size), labels, fold, queries).tolist() == expected.tolist()
    alone = np.array([(fold == fold[query]).sum() == 1 for query in queries])
    assert ((expected == UNASKED) == alone).all()
