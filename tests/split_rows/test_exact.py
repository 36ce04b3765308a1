import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.split_rows.exact import first_alike, hash_rows, hash_texts


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 2), st.just(2)), elements=st.integers(0, 1))
)
def test_pictures_have_one_digest_if_and_only_if_they_are_equal(rows):
    digests = hash_rows(rows)
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (digests[i] == digests[j]).all() == np.array_equal(rows[i], rows[j])


@given(st.lists(st.text(max_size=3), max_size=12))
def test_texts_have_one_digest_if_and_only_if_their_characters_are_equal(texts):
    digests = hash_texts(texts)
    assert digests.shape == (len(texts), 2)
    for i, one in enumerate(texts):
        for j, other in enumerate(texts):
            equal = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
            assert (digests[i] == digests[j]).all() == equal


def test_a_composed_letter_is_the_decomposed_one():
    one, other = hash_texts(["caf\u00e9", "cafe\u0301"])
    assert (one == other).all()


def test_minus_zero_is_zero():
    one, other, third = hash_rows(np.array([[0.0, 1], [-0.0, 1], [0.0, -1]], dtype=np.float32))
    assert (one == other).all()
    assert (one != third).any()


def test_rows_of_a_view_have_the_digests_of_a_copy():
    rows = np.arange(48, dtype=np.uint8).reshape(4, 3, 4)
    assert np.array_equal(hash_rows(rows[:, :, ::2]), hash_rows(rows[:, :, ::2].copy()))


@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_first_row_alike_is_the_first(values):
    digests = hash_rows(np.array(values, dtype=np.int64).reshape(-1, 1))
    assert first_alike(digests).tolist() == [values.index(value) for value in values]
