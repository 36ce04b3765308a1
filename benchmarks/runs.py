"""Runs with truth: what classifiers say out of fold of labels that were made wrong, or that people got wrong.

Other benchmarks go by them. A run that was made is kept in benchmarks/out/runs, so that a second benchmark
takes minutes. Data: cancer, wine, digits, mnist (5,000 rows), tweets, imagenette (4,000 rows; 100 components
of frozen features), whose official wrong labels are runs of their own (`official_runs`), and published
probabilities of labels by people (`human_runs`).
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality.noise import doubt_noise, instance_noise, pair_noise, symmetric_noise
from tasks.label_quality.self_tests.neighbours_vote import ask_neighbours

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "out" / "runs"
SHARED = next(
    (found for folder in ROOT.parents if (found := folder / "shared" / "data").is_dir()),
    ROOT / "shared" / "data",
)
KINDS = ("uniform", "pair", "instance", "doubt")
OFFICIAL = (1, 5, 25, 50)
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Make = Callable[[int], Any]


@dataclass(frozen=True)
class Run:
    """What a classifier says out of fold of N labels.

    Attributes:
        data: the data set.
        noise: how labels were made wrong, and how many.
        model: the classifier.
        given: (N,) given class indices.
        true: (N,) the true ones.
        pred_probs: (N, K) float32.
        second: (N,) the second opinion on each row; None where there is none.
    """

    data: str
    noise: str
    model: str
    given: Ints
    true: Ints
    pred_probs: npt.NDArray[np.float32]
    second: Ints | None

    @property
    def name(self) -> str:
        """What the run is kept as."""
        return f"{self.data}-{self.model}-{self.noise}".replace(" ", "_").replace("%", "")

    @property
    def is_wrong(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the given label is wrong."""
        return np.asarray(self.given != self.true)


def contents() -> dict[str, Callable[[], tuple[Floats, Ints]]]:
    """By name, features (N, D) and true labels (N,)."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    from sklearn.preprocessing import StandardScaler

    def scaled(loaded: Any) -> tuple[Floats, Ints]:
        return StandardScaler().fit_transform(loaded.data), loaded.target

    return {
        "cancer": lambda: scaled(load_breast_cancer()),
        "wine": lambda: scaled(load_wine()),
        "digits": lambda: (load_digits().data / 4 - 2, load_digits().target),
        "mnist": read_mnist,
        "tweets": read_tweets,
        "imagenette": read_imagenette,
    }


def read_mnist(n_rows: int = 5_000) -> tuple[Floats, Ints]:
    from sklearn.decomposition import PCA

    folder = SHARED / "mnist"
    pixels, labels = (
        np.frombuffer(gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes()), np.uint8, offset=at)
        for name, at in (("images-idx3", 16), ("labels-idx1", 8))
    )
    rows = np.random.default_rng(1).permutation(len(labels))[:n_rows]
    pixels = pixels.reshape(-1, 784)[rows] / 255
    return PCA(50, random_state=0).fit_transform(pixels), labels[rows].astype(np.int64)


def read_tweets() -> tuple[Floats, Ints]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    with (SHARED / "covid_tweets" / "train.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    words = TfidfVectorizer(min_df=2, ngram_range=(1, 2), sublinear_tf=True)
    content = TruncatedSVD(100, random_state=0).fit_transform(
        words.fit_transform(row["Text"] for row in rows)
    )
    return 10 * content, np.array([row["Label"] == "INFORMATIVE" for row in rows]).astype(np.int64)


def read_imagenette(n_rows: int = 4_000) -> tuple[Floats, Ints]:
    from sklearn.decomposition import PCA

    kept = extract_imagenette()
    rows = np.random.default_rng(1).permutation(len(kept["true"]))[:n_rows]
    values = PCA(100, random_state=0).fit_transform(kept["features"][rows])
    return values / values.std(), kept["true"][rows]


def extract_imagenette() -> dict[str, npt.NDArray[Any]]:
    """Of the training photographs `features` (N, 1280), `true` (N,) and `given_1`, 5, 25 and 50 (N,).

    Features are those of `tasks.models.efficientnet_lite0`; the first call takes minutes.
    """
    path = ROOT / "benchmarks" / "out" / "imagenette.npz"
    if not path.exists():
        from rich.console import Console

        from tasks.contents import Images
        from tasks.datasets.imagenette import CLASSES, _read_archive
        from tasks.models.efficientnet_lite0 import extract
        from tasks.own_files.pictures import Picture, decode_pictures

        pictures, table = _read_archive(SHARED / "imagenette160.tar")
        rows = [row for row in csv.DictReader(io.StringIO(table.decode())) if row["path"] in pictures]
        rows = [row for row in rows if row["path"].startswith("train/")]
        photographs = [Picture(row["path"], pictures[row["path"]]) for row in rows]
        images = Images(decode_pictures(photographs, (160, 160, 3), Console(stderr=True)))
        folders = list(CLASSES)
        labels = {
            f"given_{level}": np.array([folders.index(row[f"noisy_labels_{level}"]) for row in rows])
            for level in OFFICIAL
        }
        true = np.array([folders.index(row["path"].split("/")[1]) for row in rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, features=extract(images, "auto"), true=true, **labels)
    with np.load(path) as found:
        return dict(found)


class OnFewRows:
    """A classifier that learns from 40 rows alone."""

    def __init__(self, classifier: Any) -> None:
        self._classifier = classifier

    def fit(self, content: Floats, labels: Ints) -> None:
        """As in scikit-learn."""
        some = np.random.default_rng(0).permutation(len(labels))[:40]
        self._classifier.fit(content[some], labels[some])
        self.classes_ = self._classifier.classes_

    def predict_proba(self, content: Floats) -> Floats:
        """As in scikit-learn."""
        return np.asarray(self._classifier.predict_proba(content))


def models() -> dict[str, Make]:
    """Three that are strong and doubt in different ways, and five that are weak; they take a seed."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier

    return {
        "logistic": lambda _: LogisticRegression(max_iter=300),
        "forest": lambda seed: RandomForestClassifier(50, min_samples_leaf=2, random_state=seed),
        "network": lambda seed: MLPClassifier((64,), max_iter=30, random_state=seed),
        "weak logistic": lambda _: LogisticRegression(C=0.003, max_iter=300),
        "network, 2 epochs": lambda seed: MLPClassifier((32,), max_iter=2, random_state=seed),
        "logistic, 40 rows": lambda _: OnFewRows(LogisticRegression(max_iter=300)),
        "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
        "naive Bayes": lambda _: GaussianNB(),
    }


def predict(
    make: Make, content: npt.NDArray[np.floating], labels: Ints, seed: int = 0
) -> tuple[Floats, npt.NDArray[np.float32], Ints]:
    """(N, K) out-of-fold probabilities, (N, D) the embeddings of the folds' models, and (N,) folds."""
    from sklearn.model_selection import StratifiedKFold

    probs = np.zeros((len(labels), int(labels.max()) + 1))
    fold, embeddings = np.zeros(len(labels), dtype=np.int64), {}
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    for k, (rest, own) in enumerate(folds.split(content, labels)):
        model = make(seed + k)
        model.fit(content[rest], labels[rest])
        probs[np.ix_(own, model.classes_)] = model.predict_proba(content[own])
        layer = content[own]
        if hasattr(model, "coefs_"):
            layer = np.maximum(layer @ model.coefs_[0] + model.intercepts_[0], 0)
        embeddings[k], fold[own] = (own, layer), k
    embedding = np.zeros((len(labels), embeddings[0][1].shape[1]), dtype=np.float32)
    for own, layer in embeddings.values():
        embedding[own] = layer
    return probs, embedding, fold


def make_noise(kind: str, content: Floats, true: Ints, rate: float) -> Ints:
    """True labels, the share `rate` of them made wrong."""
    rng = np.random.default_rng([KINDS.index(kind), round(100 * rate)])
    n_classes = int(true.max()) + 1
    if kind == "uniform":
        return symmetric_noise(true, rate, n_classes, rng)
    if kind == "pair":
        return pair_noise(true, rate, n_classes, rng)
    if kind == "instance":
        scaled = (content - content.mean(axis=0)) / np.maximum(content.std(axis=0), 1e-9)
        return instance_noise(true, [scaled], rate, n_classes, rng)
    probs, _, _ = predict(models()["logistic"], content, true, seed=99)
    return doubt_noise(true, probs, rate, rng)


@dataclass(frozen=True)
class Recipe:
    """A run that may have to be made: labels of `data` made wrong, then learned by `model`."""

    data: str
    kind: str
    rate: float
    model: str

    def run(self) -> Run:
        """The run, read where it was kept."""
        noise = f"{self.kind} {self.rate:.0%}"
        name = f"{self.data}-{self.model}-{noise}".replace(" ", "_").replace("%", "")
        return _keep(name, self.data, noise, self.model, self._make)

    def _make(self) -> tuple[Ints, Ints, Floats, Ints]:
        content, true = _content(self.data)
        given = make_noise(self.kind, content, true, self.rate)
        probs, embedding, fold = predict(models()[self.model], content, given)
        return given, true, probs, ask_all(embedding, given, fold)


@cache
def _content(data: str) -> tuple[Floats, Ints]:
    return contents()[data]()


def ask_all(embedding: npt.NDArray[np.float32], given: Ints, fold: Ints) -> Ints:
    """(N,) what the neighbours of each row say."""
    return ask_neighbours(lambda: iter([embedding]), given, fold, np.arange(len(given)))


def recipes(data: Sequence[str], noise: Sequence[tuple[str, float]], of: Sequence[str]) -> Iterator[Recipe]:
    """All runs of these data sets, kinds and rates of noise, and models."""
    for name in data:
        for kind, rate in noise:
            # Of two classes pair noise is uniform noise, and labels half of which are wrong say nothing.
            if name in ("cancer", "tweets") and (kind == "pair" or rate > 0.3):
                continue
            for model in of:
                yield Recipe(name, kind, rate, model)


def official_runs() -> Iterator[Run]:
    """Imagenette's official wrong labels by frozen features and the regression of that model's preset."""
    from tasks.models.efficientnet_lite0 import Options

    def make(level: int) -> tuple[Ints, Ints, Floats, Ints]:
        from sklearn.linear_model import LogisticRegression

        kept = extract_imagenette()
        given, features = kept[f"given_{level}"], kept["features"]
        strength = Options().C / (0.8 * len(given))
        probs, embedding, fold = predict(
            lambda _: LogisticRegression(C=strength, max_iter=Options().max_iter), features, given
        )
        return given, kept["true"], probs, ask_all(embedding, given, fold)

    for level in OFFICIAL:
        noise = f"official {level} %"
        name = f"imagenette-frozen_features-official_{level}"
        yield _keep(name, "imagenette", noise, "frozen features", lambda level=level: make(level))


def human_runs() -> Iterator[Run]:
    """Published probabilities of labels by people; the second opinion is another network's, if there is one.

    The right class of a wrong label is not published: what the networks together take it for stands in.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted((SHARED / "human_noise").glob("*.npz")):
        groups.setdefault(path.stem.rpartition("_")[0], []).append(path)
    for group, paths in groups.items():
        arrays = [np.load(path) for path in paths]
        given = arrays[0]["given_label"].astype(np.int64)
        mean = sum(array["pred_probs"].astype(np.float64) for array in arrays)
        mean[np.arange(len(given)), given] = -1
        true = np.where(arrays[0]["is_error"], mean.argmax(axis=1), given)
        for k, (path, array) in enumerate(zip(paths, arrays, strict=True)):
            other = arrays[(k + 1) % len(arrays)]["pred_probs"].argmax(axis=1) if len(arrays) > 1 else None
            model = path.stem.rpartition("_")[2]
            yield Run("human", group, model, given, true, array["pred_probs"], other)


def _keep(
    name: str, data: str, noise: str, model: str, make: Callable[[], tuple[Ints, Ints, Floats, Ints]]
) -> Run:
    path = KEPT / f"{name}.npz"
    if not path.exists():
        given, true, probs, second = make()
        KEPT.mkdir(parents=True, exist_ok=True)
        # 12 bits of each probability: enough for what is measured, and the files are a third smaller.
        mantissa, exponent = np.frexp(probs.astype(np.float32))
        np.savez_compressed(
            path,
            given=given.astype(np.int16),
            true=true.astype(np.int16),
            pred_probs=np.ldexp(np.rint(mantissa * 2**12) / 2**12, exponent).astype(np.float32),
            second=second.astype(np.int16),
        )
    with np.load(path) as kept:
        given, true, second = (kept[key].astype(np.int64) for key in ("given", "true", "second"))
        return Run(data, noise, model, given, true, kept["pred_probs"], second)
