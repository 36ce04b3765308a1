"""Keys: the number of a row is made from its name alone, and two names never share one."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.tables.keys import example_id_of, example_ids_of

keys = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.text(max_size=8),
    st.sampled_from(
        ["007", "-0", "+7", "7.0", " 7", "7\n", "\u0667", "", "a/b.png", "\udc80", "é", "e\u0301"]
    ),
)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_its_own_id(number: int) -> None:
    assert example_id_of(str(number)) == number


@given(keys)
def test_every_other_key_gets_63_bits_whatever_its_unicode_form(key: str) -> None:
    id_ = example_id_of(key)
    forms = {unicodedata.normalize(form, key) for form in ("NFC", "NFD")}
    assert {example_id_of(form) for form in forms} == {id_}
    if str(id_) != key:
        assert 0 <= id_ < 2**63
        assert id_ not in (7, -7, 0)  # `007`, `+7` and `7.0` are other names than `7`


def test_ids_are_the_same_on_every_machine_and_in_every_version() -> None:
    assert example_id_of("a/b.png") == 4562848063837811370
    assert example_id_of("007") == 2636083598628110558


@given(st.lists(keys, max_size=20, unique_by=lambda key: unicodedata.normalize("NFC", key)), st.randoms())
def test_the_id_of_a_key_depends_on_no_other_key_and_no_order(found: list[str], random) -> None:
    ids = dict(zip(found, example_ids_of(found, "x").tolist(), strict=True))
    random.shuffle(found)
    half = found[::2]
    assert example_ids_of(half, "x").tolist() == [ids[key] for key in half]
    assert example_ids_of(half, "x").dtype == np.int64


@pytest.mark.parametrize(
    ("repeated", "says"),
    [
        (["b", "7", "a", "b", "b"], "'b' twice (2 repeats in all)"),
        (["7", "7"], "'7' twice"),
        (["é", "e\u0301"], "'é' twice"),
        (["7", str(example_id_of("a")), "a"], "which give the same one"),
    ],
)
def test_keys_that_share_an_id_are_refused_by_their_names(repeated: list[str], says: str) -> None:
    with pytest.raises(DatasetError, match=r"^mine\.csv: expected ") as caught:
        example_ids_of(repeated, "mine.csv")
    assert says in str(caught.value)
