"""Rows are found by example_id; slow loops are the oracle."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import ArtifactError
from tasks.tables.joins import join, locate
from tasks.tables.proofs import rows_digest

ids_lists = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=30)


@given(ids=ids_lists, data=st.data())
def test_locate_finds_what_a_loop_finds(ids: list[int], data) -> None:
    wanted = data.draw(st.lists(st.sampled_from(ids), max_size=30)) if ids else []
    found = locate(np.array(ids, dtype=np.int64), np.array(wanted, dtype=np.int64))
    assert found.tolist() == [ids.index(one) for one in wanted]


@given(ids=ids_lists, wanted=st.lists(st.integers(-50, 50), min_size=1))
def test_locate_names_how_many_are_missing_and_the_first(ids: list[int], wanted: list[int]) -> None:
    missing = [one for one in wanted if one not in ids]
    arrays = np.array(ids, dtype=np.int64), np.array(wanted, dtype=np.int64)
    if not missing:
        assert len(locate(*arrays)) == len(wanted)
        return
    with pytest.raises(ArtifactError) as caught:
        locate(*arrays, where="data/x.parquet")
    assert str(caught.value).startswith("data/x.parquet: ")
    assert f"found {len(missing)} missing, the first {missing[0]}." in str(caught.value)
    assert "`dvc repro`" in str(caught.value)


@given(ids=ids_lists, data=st.data())
def test_a_join_gives_the_rows_asked_for_in_their_order(ids: list[int], data) -> None:
    wanted = data.draw(st.permutations(ids) | st.lists(st.sampled_from(ids), max_size=9)) if ids else []
    table = pa.table({"example_id": pa.array(ids, pa.int64()), "name": [f"row {one}" for one in ids]})
    found = join(table, np.array(wanted, dtype=np.int64))
    assert found.to_pylist() == [{"example_id": one, "name": f"row {one}"} for one in wanted]


@given(ids=ids_lists, data=st.data())
def test_the_digest_is_that_of_the_sorted_ids_whatever_their_order(ids: list[int], data) -> None:
    slow = hashlib.sha256(b"".join(one.to_bytes(8, "little", signed=True) for one in sorted(ids)))
    shuffled = data.draw(st.permutations(ids))
    assert rows_digest(np.array(shuffled, dtype=np.int64)) == slow.hexdigest()


def test_another_set_of_ids_has_another_digest() -> None:
    digests = {rows_digest(np.array(ids)) for ids in ([1, 2, 3], [1, 2], [1, 2, 4], [1, 2, 3, 3])}
    assert len(digests) == 4
    assert rows_digest(np.array([1, 2], dtype=np.int32)) in digests
