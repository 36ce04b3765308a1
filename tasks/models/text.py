"""TF-IDF of words and characters with logistic regression, by scikit-learn: for texts, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks import DatasetError, TrainingError
from tasks.contents import Content, Texts
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.linear import fit_linear, predict_linear, shapes_of_linear
from tasks.training.protocol import Arrays, Model, Predictions, Rows, Run

TAKES = ("text",)
USES_TORCH = False
OBJECTIVES = ("supervised",)

# What a text is cut into: words and pairs of words; 2 to 5 characters within a word and its two spaces.
_PARTS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2)},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}
# Texts that are cut at a time when the model predicts.
_PORTION = 4096
# The axes of the embedding are found in so many texts, among the terms that most texts have: all texts and
# terms of 7,000 tweets (312,125) took a minute.
_AXES_TEXTS = 4_000
_AXES_TERMS = 20_000


class Options(Section):
    """`C` is the inverse strength of the L2 penalty; `max_iter` bounds the iterations of L-BFGS.

    A term counts if at least `min_texts` training texts have it; of words and of characters, the most
    frequent `max_terms` are kept. `embedding_size` is the number of axes of the embedding.
    """

    C: Annotated[float, Field(gt=0)] = 3.0
    max_iter: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    min_texts: Annotated[int, Field(ge=1)] = 1
    max_terms: Annotated[int, Field(ge=1, le=2_000_000)] = 200_000
    embedding_size: Annotated[int, Field(ge=1, le=1024)] = 128


class Terms(NamedTuple):
    """The terms of one part of `_PARTS`, in alphabetical order, and (V,) the weight of each."""

    part: str
    names: list[str]
    idf: npt.NDArray[np.float32]


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return TextModel(facts, options, run.seed, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The model with the arrays of a checkpoint."""
    terms = [_read_terms(part, arrays) for part in _PARTS]
    n_terms = sum(len(each.names) for each in terms)
    shapes = {
        **shapes_of_linear(facts.n_classes, n_terms),
        "axes": (options.embedding_size, min(n_terms, _AXES_TERMS)),
    }
    model = TextModel(facts, options, seed=0, threads=1)
    model.terms, model.arrays = terms, arrays_of_shapes(arrays, shapes)
    return model


class TextModel:
    """Multinomial logistic regression on TF-IDF. A class without rows has probability 0.

    TF-IDF is that of scikit-learn: counts times log((1 + n) / (1 + df)) + 1, words and characters of a text
    each scaled to length 1 (Salton and Buckley, "Term-weighting approaches in automatic text retrieval",
    1988).
    """

    def __init__(self, facts: DatasetFacts, options: Options, seed: int, threads: int) -> None:
        self._facts, self._options, self._seed, self._threads = facts, options, seed, threads
        self.terms: Sequence[Terms] = ()
        self.arrays: Arrays = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model` and `fit_linear`."""
        from scipy import sparse  # type: ignore[import-untyped]

        texts, options = _check_texts(rows.content).values(), self._options
        self.terms, parts = zip(*(_find_terms(part, texts, options) for part in _PARTS), strict=True)
        if not any(each.names for each in self.terms):
            raise TrainingError(
                f"The model `text` needs texts with words in common, found none in {len(texts)} rows. Lower "
                f"models.text.min_texts ({options.min_texts}), or look at the texts."
            )
        values = sparse.hstack(parts, format="csr")
        with threadpool_limits(self._threads):
            fitted = fit_linear(values, rows, self._facts.n_classes, options.C, options.max_iter)
            axes = _principal_axes(values[:, _most_frequent(self.terms)], options.embedding_size, self._seed)
        self.arrays = {**fitted, "axes": axes}

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`.

        The embedding is the text's place on the principal axes of the TF-IDF of the training texts, of
        length 1: the nearer two texts are, the more terms they share (latent semantic analysis; Deerwester
        et al., 1990).
        """
        texts, arrays, frequent = _check_texts(content).values(), self.arrays, _most_frequent(self.terms)
        probs = np.zeros((len(texts), self._facts.n_classes), dtype=np.float32)
        embedding = np.zeros((len(texts), self._options.embedding_size), dtype=np.float32)
        with threadpool_limits(self._threads):
            for start in range(0, len(texts), _PORTION):
                chosen = slice(start, start + _PORTION)
                values = _weigh(texts[chosen], self.terms)
                probs[chosen] = predict_linear(values, arrays)
                places = values[:, frequent] @ arrays["axes"].T
                lengths = np.linalg.norm(places, axis=1, keepdims=True)
                embedding[chosen] = np.divide(places, lengths, out=places, where=lengths > 0)
        return Predictions(probs, embedding)

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        arrays = dict(self.arrays)
        for part, names, idf in self.terms:
            encoded = [name.encode() for name in names]
            arrays[f"{part}_terms"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{part}_ends"] = np.cumsum([len(each) for each in encoded], dtype=np.int64)
            arrays[f"{part}_idf"] = idf
        write_checkpoint(path, "text", self._options, self._facts, arrays)


def _check_texts(content: Content) -> Texts:
    if isinstance(content, Texts):
        return content
    raise DatasetError(
        f"The model was built for text, found {content.kind}. Give it content prepared as that of its "
        "training."
    )


def _vectorizer(part: str, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(**_PARTS[part], dtype=np.float32, **settings)


def _find_terms(part: str, texts: list[str], options: Options) -> tuple[Terms, Any]:
    """The terms of a part that count, and (N, V) the TF-IDF of the texts, sparse."""
    from scipy import sparse

    vectorizer = _vectorizer(part, min_df=min(options.min_texts, len(texts)), max_features=options.max_terms)
    try:
        values = vectorizer.fit_transform(texts)
    except ValueError:  # no text has a term that counts
        return Terms(part, [], np.zeros(0, dtype=np.float32)), sparse.csr_matrix((len(texts), 0))
    names = vectorizer.get_feature_names_out().tolist()
    return Terms(part, names, vectorizer.idf_.astype(np.float32)), values


def _weigh(texts: list[str], terms: Sequence[Terms]) -> Any:
    """(N, V) TF-IDF of the terms of all parts, sparse."""
    from scipy import sparse

    columns = []
    for part, names, idf in terms:
        if names:
            vectorizer = _vectorizer(part, vocabulary={name: place for place, name in enumerate(names)})
            vectorizer.idf_ = idf
            columns.append(vectorizer.transform(texts))
    return sparse.hstack(columns, format="csr")


def _most_frequent(terms: Sequence[Terms]) -> npt.NDArray[np.intp]:
    """The columns of the terms that most texts have, which have the smallest weights."""
    weights = np.concatenate([each.idf for each in terms])
    return np.sort(np.argsort(weights, kind="stable")[:_AXES_TERMS])


def _principal_axes(values: Any, n_axes: int, seed: int) -> npt.NDArray[np.float32]:
    """(n_axes, V) the principal axes of sparse (N, V) rows, by randomised SVD; 0 where there are no more."""
    from sklearn.decomposition import TruncatedSVD

    rows = np.random.default_rng(seed).permutation(values.shape[0])[:_AXES_TEXTS]
    axes = np.zeros((n_axes, values.shape[1]), dtype=np.float32)
    n_found = min(n_axes, len(rows), values.shape[1])
    svd = TruncatedSVD(n_found, n_iter=2, random_state=seed)
    axes[:n_found] = svd.fit(values[rows]).components_
    return axes


def _read_terms(part: str, arrays: Arrays) -> Terms:
    """The terms that `save` wrote.

    Raises:
        ValueError: the arrays are missing, or do not fit each other.
    """
    joined, ends, idf = (arrays[f"{part}_{name}"] for name in ("terms", "ends", "idf"))
    if joined.dtype != np.uint8 or ends.dtype != np.int64 or ends.ndim != 1 or idf.shape != ends.shape:
        raise ValueError(f"expected the terms of {part} as bytes, ends and weights, found other arrays")
    starts = np.concatenate([[0], ends])
    if starts[-1] != joined.size or (np.diff(starts) < 1).any():
        raise ValueError(f"expected {joined.size} bytes of {part}, found ends that do not fit")
    content = joined.tobytes()
    names = [content[start:end].decode() for start, end in zip(starts, ends, strict=False)]
    if len(set(names)) != len(names):
        raise ValueError(f"expected each of the {part} once, found one twice")
    return Terms(part, names, idf.astype(np.float32))
