import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.split_rows.texts import TextFingerprints, fingerprint_texts, first_form, near_texts, words_of

WORDS = [
    f"{first}{second}"
    for first in "bdfgklmnprst"
    for second in ("ali", "elo", "ino", "ota", "uku", "yre", "aro")
]


def draw_texts(n, seed, n_words=20):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, n_words)) for _ in range(n)]


def linked(texts):
    """The pairs of positions that are linked, or have one form."""
    prints = fingerprint_texts(texts)
    form = first_form(prints, np.arange(len(texts)))
    rows = np.unique(form)
    links = near_texts(prints, rows)
    pairs = set(zip(rows[links.first].tolist(), rows[links.second].tolist(), strict=True))
    return pairs | {(first, row) for row, first in enumerate(form.tolist()) if first != row}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("RT @some_one: Stay home https://t.co/AbC via @BBC", ["stay", "home"]),
        ("Stay home HTTPURL @USER", ["stay", "home"]),
        ("1,169 new cases, 3.5 % more", ["1169", "new", "cases", "3.5", "more"]),
        ("#COVID19 COVID-19 covid\u201019", ["covid19", "covid19", "covid19"]),
        ("A 39-year-old&amp;his mother's dog", ["a", "39yearold", "his", "mothers", "dog"]),
        ("mail me@home.org", ["mail", "me", "home", "org"]),
        ("\u65b0\u51a0\u75ab\u60c5 2020\u5e74", ["\u65b0", "\u51a0", "\u75ab", "\u60c5", "2020", "\u5e74"]),
        ("Caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"]),
        ("", []),
        ("@USER HTTPURL !!!", []),
    ],
)
def test_words_of_a_text(text, words):
    assert words_of(text) == words


TEXT = "Officials in Narsova confirm 12 new cases and urge everyone to stay at home this week"


@pytest.mark.parametrize(
    "other",
    [
        f"RT @someone: {TEXT}",
        f"{TEXT} https://t.co/abc",
        TEXT.upper() + "!!!",
        f"{TEXT} #stayhome #news",
        f"Please read this: {TEXT}",
    ],
)
def test_a_text_that_says_the_same_is_found(other):
    texts = [*draw_texts(50, 0), TEXT, other]
    assert linked(texts) == {(50, 51)}


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("12", "13"),
        TEXT.replace("12 new cases", "12 new cases, 5 deaths"),
        "Officials in Narsova confirm 12 new cases",
        " ".join(reversed(TEXT.split())),
        "Doctors in Belgrad deny 12 old rumours and ask nobody to come to work next month",
        f"{TEXT} and by the way, these {' '.join(WORDS[:40])}",
    ],
)
def test_a_text_that_says_something_else_is_not(other):
    assert not linked([*draw_texts(50, 0), TEXT, other])


def test_a_changed_handle_or_link_leaves_nothing_between_two_texts():
    texts = [*draw_texts(30, 1), f"@anna {TEXT} http://a.b/c", f"@otto {TEXT} http://d.e/f"]
    assert linked(texts) == {(30, 31)}
    assert first_form(fingerprint_texts(texts), np.arange(32))[31] == 30


@pytest.mark.parametrize(
    ("one", "other"), [("Thank you!", "thank you"), ("@a", "@b"), ("Stay safe all @a", "Stay safe all @b")]
)
def test_short_texts_are_near_nothing(one, other):
    assert not linked([*draw_texts(20, 2), one, other])


def test_hundreds_of_copies_that_differ_by_a_link_are_all_linked():
    texts = [*draw_texts(50, 3), *(f"{TEXT} http://t.co/{number:x}z" for number in range(2500))]
    links = linked(texts)
    assert {one for one, _ in links} == {50}
    assert len(links) == 2499


def test_one_common_word_does_not_make_all_texts_candidates():
    texts = [f"corona {text}" for text in draw_texts(300, 4)]
    assert not linked(texts)


@settings(max_examples=20)
@given(st.integers(1, 9))
def test_portions_change_nothing(portion_rows):
    texts = [*draw_texts(11, 5), TEXT, f"{TEXT} http://t.co/x", ""]
    whole = fingerprint_texts(texts)
    joined = TextFingerprints.join(
        [
            fingerprint_texts(texts[start : start + portion_rows])
            for start in range(0, len(texts), portion_rows)
        ]
    )
    for name in ("digests", "forms", "numbers", "n_words"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name))
    assert (joined.terms != whole.terms).nnz == 0


@pytest.mark.parametrize(
    "texts", [[], [TEXT], [TEXT, "other words that have nothing to do with it"], ["", " "]]
)
def test_a_few_texts_have_no_links(texts):
    assert not linked(texts)
