"""TF-IDF with logistic regression, against scikit-learn's own pipeline."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from small_trainings import fitted, rows_of, word_rows

from tasks import ArtifactError, DatasetError, TrainingError
from tasks.contents import Features, Texts
from tasks.models import text
from tasks.training.checkpoints import load_model


def theirs() -> Any:
    parts = make_union(
        TfidfVectorizer(ngram_range=(1, 2)), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    )
    return make_pipeline(parts, LogisticRegression(C=3, max_iter=1000, tol=1e-8))


def test_it_is_that_of_scikit_learn(tmp_path: Path) -> None:
    rows = word_rows(80)
    found = fitted(tmp_path, rows, name="text").predict(rows.content)
    texts = rows.content.values()
    expected = theirs().fit(texts, rows.label).predict_proba(texts)
    np.testing.assert_allclose(found.pred_probs, expected, atol=2e-3)


def test_weights_and_soft_labels_count(tmp_path: Path) -> None:
    """A row with a soft label is as good as several rows with hard ones and these weights."""
    rows = word_rows(60)
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float32)
    soft[:20] = np.eye(3)[rows.label[:20]]
    weight = np.random.default_rng(1).uniform(0.5, 2, 60).astype(np.float32)
    softly = replace(rows, soft_label=soft, weight=weight)
    found = fitted(tmp_path, softly, name="text", n_classes=3).predict(rows.content).pred_probs
    texts, model = rows.content.values(), theirs()
    places, labels = np.nonzero(soft)
    values = model[0].fit_transform(texts)
    model[1].fit(values[places], labels, soft[places, labels] * weight[places])
    np.testing.assert_allclose(found, model[1].predict_proba(values), atol=2e-3)


def test_a_class_without_rows_has_no_probability(tmp_path: Path) -> None:
    rows = word_rows(60)
    shifted = rows_of(rows.content, np.where(rows.label == 0, 1, 3))
    probs = fitted(tmp_path, shifted, name="text", n_classes=5).predict(rows.content).pred_probs
    assert (probs[:, [0, 2, 4]] == 0).all()
    assert np.mean(probs.argmax(axis=1) == shifted.label) > 0.9


def test_neighbours_of_an_embedding_share_words_and_its_width_does_not_depend_on_the_rows(
    tmp_path: Path,
) -> None:
    rows = word_rows(300)
    options = {"embedding_size": 16}
    found = fitted(tmp_path, rows, name="text", options=options).predict(rows.content).embedding
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    likeness = found @ found.T
    np.fill_diagonal(likeness, -1)
    nearest = rows.label[likeness.argmax(axis=1)]
    assert np.mean(nearest == rows.label) > 0.9
    few = fitted(tmp_path, rows.take(slice(0, 4)), name="text", options=options).predict(rows.content)
    assert few.embedding.shape == found.shape


def test_axes_are_found_among_the_most_frequent_terms(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(text, "_AXES_TERMS", 20)
    monkeypatch.setattr(text, "_AXES_TEXTS", 50)
    rows = word_rows(120)
    model: Any = fitted(tmp_path, rows, name="text", options={"embedding_size": 8})
    assert model.arrays["axes"].shape == (8, 20)
    model.save(tmp_path / "a.ckpt")
    again = load_model(tmp_path / "a.ckpt")[0].predict(rows.content)
    np.testing.assert_array_equal(again.embedding, model.predict(rows.content).embedding)


@pytest.mark.parametrize("unseen", ["", " ", "?", "完全に新しい", "x" * 10_000])
def test_texts_without_a_known_term_have_the_probabilities_of_the_intercept(
    tmp_path: Path, unseen: str
) -> None:
    model: Any = fitted(tmp_path, word_rows(60), name="text")
    found = model.predict(Texts([unseen, ""]))
    assert np.isfinite(found.embedding).all()
    np.testing.assert_allclose(found.pred_probs[0], found.pred_probs[1], atol=1e-6)


def test_texts_of_single_characters_and_of_other_scripts_are_learned_by_characters(tmp_path: Path) -> None:
    rows = rows_of(Texts(["a b", "c d"] * 10 + ["天気がいい", "雪が降る"] * 10), np.tile([0, 1], 20))
    probs = fitted(tmp_path, rows, name="text").predict(rows.content).pred_probs
    assert (probs.argmax(axis=1) == rows.label).all()


def test_texts_that_have_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="words in common, found none in 4 rows"):
        fitted(tmp_path, rows_of(Texts(["", " ", "", ""]), np.tile([0, 1], 2)), name="text")
    with pytest.raises(TrainingError, match="at least 2 classes, found 1"):
        fitted(tmp_path, rows_of(Texts(["a b", "c d"]), np.zeros(2, dtype=np.int64)), name="text")


def test_other_content_is_refused(tmp_path: Path) -> None:
    model = fitted(tmp_path, word_rows(20), name="text")
    with pytest.raises(DatasetError, match="built for text, found features"):
        model.predict(Features(np.zeros((2, 3), dtype=np.float32)))


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("words_ends", np.array([3, 2], dtype=np.int64)),
        ("words_ends", np.array([10**12], dtype=np.int64)),
        ("words_ends", np.array([1.0])),
        ("words_terms", np.zeros(0, dtype=np.uint8)),
        ("words_terms", np.array(["sun"])),
        ("characters_idf", np.ones(3, dtype=np.float32)),
        ("weights", np.zeros((2, 3), dtype=np.float32)),
        ("axes", np.zeros((128, 1), dtype=np.float32)),
    ],
)
def test_terms_that_do_not_fit_are_damage(tmp_path: Path, array: str, value: Any) -> None:
    model: Any = fitted(tmp_path, word_rows(20), name="text")
    model.save(tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.ckpt", "w") as archive:
        for name, content in members.items():
            if name != f"{array}.npy":
                archive.writestr(name, content)
        with archive.open(f"{array}.npy", "w") as member:
            np.lib.format.write_array(member, value)
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(tmp_path / "b.ckpt")
