"""Texts that say the same thing: copied, retweeted, cut short, with another link, name or comment.

TF-IDF finds candidates; the words that they share decide, and every number must be the same.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tasks.split_rows.exact import Digests, first_alike, hash_texts
from tasks.split_rows.links import Links

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CONTAINED = 0.9
"""Near duplicates share this part of the shorter text's TF-IDF."""
SHARED = 0.5
"""And this part of the TF-IDF of both."""
LEAST_WORDS = 5
"""Shorter texts are near duplicates of none: many say "thank you" who have nothing to do with each other."""

_N_TERMS = 2**22
# Frequent terms are in so many pairs of texts that they choose none; in the decision they count.
_MOST_TEXTS = 1000
_LEAST_COSINE = 0.4
_BLOCK_ROWS = 256
_PAIRS = 2**14

# Also what stands for links and handles in published sets of tweets.
_LINK = re.compile(r"https?://\S+|www\.\S+|\bhttp(?:s|url)?\b")
_HANDLE = re.compile(r"(?:\b(?:rt|via)\s+)?(?<![\w])@\w+:?")
# Chinese and Japanese write no spaces: a character is a word. COVID-19, covid19 and 39-year-old are words.
_ALONE = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(
    rf"\d+(?:[.,]\d+)*(?![-\w])|[{_ALONE}]|[^\W_{_ALONE}]+(?:[-'\u2010\u2011\u2019][^\W_{_ALONE}]+)*"
)
_LETTER = re.compile(r"[^\W\d_]")
_JOINTS = str.maketrans("", "", ",-'\u2010\u2011\u2019")


@dataclass(frozen=True)
class TextFingerprints:
    """What is kept of texts to find those that say the same thing.

    Attributes:
        digests: (N, 2) of the content.
        forms: (N, 2) of the words in their order; see `words_of`.
        numbers: (N, 2) of the numbers among them, whatever their order.
        n_words: (N,).
        terms: (N, 2^22) sparse counts of words and pairs of words, by hash.
    """

    digests: Digests
    forms: Digests
    numbers: Digests
    n_words: Ints
    terms: Any

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The fingerprints of consecutive portions, of which there is at least one, as of one."""
        from scipy.sparse import vstack  # type: ignore[import-untyped]

        digests, forms, numbers, n_words = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("digests", "forms", "numbers", "n_words")
        )
        return cls(digests, forms, numbers, n_words, vstack([part.terms for part in parts], format="csr"))


def fingerprint_texts(texts: Sequence[str]) -> TextFingerprints:
    """The fingerprints of N texts."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer

    words = [words_of(text) for text in texts]
    counter = HashingVectorizer(
        analyzer=_terms_of, n_features=_N_TERMS, alternate_sign=False, norm=None, dtype=np.float32
    )
    return TextFingerprints(
        digests=hash_texts(texts),
        forms=hash_texts(" ".join(own) for own in words),
        numbers=hash_texts(
            " ".join(sorted(word for word in own if not _LETTER.search(word))) for own in words
        ),
        n_words=np.array([len(own) for own in words], dtype=np.int64),
        terms=csr_array(counter.transform(words) if words else (0, _N_TERMS), dtype=np.float32),
    )


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case: no links, no @handles, no punctuation; 1,169 is 1169."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    plain = _HANDLE.sub(" ", _LINK.sub(" ", plain))
    return [word.translate(_JOINTS) for word in _WORD.findall(plain)]


def first_form(prints: TextFingerprints, rows: Ints) -> Ints:
    """(M,) position in `rows` of the first text with the same words in the same order (see `words_of`).

    Of short texts, with the same content.
    """
    first, form = first_alike(prints.digests[rows]), first_alike(prints.forms[rows])
    return np.where(prints.n_words[rows] >= LEAST_WORDS, form, first)


def near_texts(prints: TextFingerprints, rows: Ints) -> Links:
    """Links between near duplicates among the texts at `rows`; their ends count these.

    Candidates share rare words and pairs of words (cosine of TF-IDF). Near duplicates share, weighted by
    TF-IDF, nearly all of the shorter text: so many words may be added, but few replaced. All numbers are
    the same: "50 new cases" and "70 new cases" are two reports.

    Args:
        prints: of all texts.
        rows: (M,) positions; their forms are different, see `first_form`.
    """
    long = np.flatnonzero(prints.n_words[rows] >= LEAST_WORDS)
    if len(long) < 2:
        return Links.join()
    weights = _weigh(prints.terms[rows[long]])
    first, second = _candidates(weights, first_alike(prints.numbers[rows[long]]))
    contained, shared = _overlap(weights, first, second)
    near = (contained >= CONTAINED) & (shared >= SHARED)
    return Links(long[first[near]], long[second[near]], 1 - shared[near])


def _terms_of(words: list[str]) -> Iterator[str]:
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"


def _weigh(counts: Any) -> Any:
    """TF-IDF of counts (M, terms) without the empty columns, not scaled (scikit-learn's smooth idf)."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfTransformer

    _, columns = np.unique(counts.indices, return_inverse=True)
    shape = (counts.shape[0], columns.max(initial=-1) + 1)
    compact = csr_array((counts.data, columns, counts.indptr), shape=shape)
    return csr_array(TfidfTransformer(norm=None).fit_transform(compact))


def _candidates(weights: Any, numbers: Ints) -> tuple[Ints, Ints]:
    """Pairs of rows, the lower first, that share enough rare terms and all `numbers` (M,)."""
    from sklearn.preprocessing import normalize

    n_texts = np.bincount(weights.indices, minlength=weights.shape[1])
    unit = normalize(weights)[:, np.flatnonzero((n_texts > 1) & (n_texts <= _MOST_TEXTS))]
    turned = unit.T.tocsr()
    found: list[tuple[Ints, Ints]] = []
    for start in range(0, unit.shape[0], _BLOCK_ROWS):
        cosine = (unit[start : start + _BLOCK_ROWS] @ turned).tocoo()
        alike = cosine.data >= _LEAST_COSINE
        first, second = (ends[alike].astype(np.int64) for ends in (cosine.row, cosine.col))
        first += start
        near = (first < second) & (numbers[first] == numbers[second])
        found.append((first[near], second[near]))
    first, second = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order]


def _overlap(weights: Any, first: Ints, second: Ints) -> tuple[Floats, Floats]:
    """(P,) what part of the lighter row of each pair the other has, and what part of both they share."""
    total = weights.sum(axis=1)
    contained, shared = np.empty(len(first)), np.empty(len(first))
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        one, other = first[part], second[part]
        common = weights[one].minimum(weights[other]).sum(axis=1)
        contained[part] = common / np.minimum(total[one], total[other])
        shared[part] = common / (total[one] + total[other] - common)
    return contained, shared
