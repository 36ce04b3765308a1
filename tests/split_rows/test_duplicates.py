"""The whole way from content to groups, for each kind of content."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_rows.test_pictures import CHANGES, by_pillow, draw_pictures
from split_rows.test_texts import draw_texts
from threadpoolctl import threadpool_limits

from tasks.split_rows.duplicates import find_groups, fingerprint, join

ROOT = Path(__file__).parents[2]


def some_pictures():
    pictures = draw_pictures(24, seed=0)
    copies = by_pillow(CHANGES["recoded"])(pictures[:4])
    return np.concatenate([pictures, copies, pictures[2:6]])


def some_texts():
    texts = draw_texts(24, seed=0)
    return [*texts, *(f"RT @a: {text}" for text in texts[:4]), *texts[2:6]]


def some_vectors():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(24, 12)).astype(np.float32)
    copies = rows[:4] + np.float32(1e-4) * rng.normal(size=(4, 12)).astype(np.float32)
    return np.concatenate([rows, copies, rows[2:6]])


CONTENTS = {"pictures": some_pictures(), "texts": some_texts(), "vectors": some_vectors()}
IDS = np.arange(32) * 7 + 100
# Rows 24 to 27 are nearly rows 0 to 3; rows 28 to 31 are rows 2 to 5.
ORIGINAL = np.array([*range(24), 0, 1, 2, 3, 2, 3, 4, 5])
KIND = np.array(
    ["near", "near", *["exact"] * 4, *["single"] * 18, *["near"] * 4, *["exact"] * 4],
)


def take(content, order):
    return [content[row] for row in order] if isinstance(content, list) else content[order]


@pytest.mark.parametrize("kind", CONTENTS)
def test_rows_get_the_group_of_their_original_and_their_kind(kind):
    groups = find_groups(IDS, fingerprint(CONTENTS[kind]))
    assert groups.group.tolist() == IDS[ORIGINAL].tolist()
    assert groups.kind.tolist() == KIND.tolist()
    assert groups.group.dtype == np.int64


@pytest.mark.parametrize("kind", CONTENTS)
def test_without_near_only_equal_rows_are_grouped(kind):
    groups = find_groups(IDS, fingerprint(CONTENTS[kind]), near=False)
    original = np.where(np.isin(np.arange(32), [24, 25, 26, 27]), np.arange(32), ORIGINAL)
    assert groups.group.tolist() == IDS[original].tolist()
    assert set(groups.kind) == {"single", "exact"}


@settings(max_examples=30)
@given(st.permutations(range(32)), st.sampled_from(sorted(CONTENTS)), st.integers(1, 40), st.integers(1, 32))
def test_order_portions_and_blocks_change_no_group(order, kind, block_rows, portion_rows):
    order = np.array(order)
    portions = [order[start : start + portion_rows] for start in range(0, 32, portion_rows)]
    prints = join([fingerprint(take(CONTENTS[kind], portion)) for portion in portions])
    groups = find_groups(IDS[order], prints, block_rows=block_rows)
    assert groups.group.tolist() == IDS[ORIGINAL][order].tolist()
    assert groups.kind.tolist() == KIND[order].tolist()


def test_threads_change_no_group():
    prints = fingerprint(CONTENTS["pictures"])
    alone = find_groups(IDS, prints)
    with threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        together = find_groups(IDS, prints, block_rows=5, each=pool.map)
    assert np.array_equal(alone.group, together.group)


@pytest.mark.parametrize("ids", [np.r_[IDS[:-1], IDS[0]], IDS[:-1]])
def test_ids_that_do_not_fit_the_rows_are_refused(ids):
    with pytest.raises(ValueError, match="different ids"):
        find_groups(ids, fingerprint(CONTENTS["vectors"]))


def test_features_that_do_not_fit_the_rows_are_refused():
    with pytest.raises(ValueError, match="features of 32 rows"):
        find_groups(IDS, fingerprint(CONTENTS["pictures"]), features=np.ones((31, 2), np.float32))


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((4, 3), np.uint8),
        np.zeros((4, 3), np.int64),
        np.zeros((4, 3, 2)),
        np.zeros((2, 2, 2, 2, 2), np.uint8),
    ],
)
def test_content_of_no_kind_is_refused_with_its_shape(content):
    with pytest.raises(ValueError, match="content must be"):
        fingerprint(content)


@pytest.mark.parametrize("content", [np.zeros((0, 4, 4), np.uint8), [], np.zeros((0, 3), np.float32)])
def test_an_empty_table_has_no_groups(content):
    groups = find_groups(np.empty(0, np.int64), fingerprint(content))
    assert len(groups.group) == 0


def test_importing_it_is_light():
    code = (
        "import sys, tasks.split_rows.duplicates, tasks.split_rows.held_out; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'pandas', 'faiss') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
