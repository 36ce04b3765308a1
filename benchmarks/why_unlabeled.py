"""`python -m benchmarks.why_unlabeled FOLDER`: why rows without a label can help, as two pictures (SVG).

1. `qda.svg`: quadratic discriminant analysis in two dimensions. Two classes, of which few rows have a label:
   the ellipses (one and two standard deviations) before and after the rows join of which it is sure, and the
   true ones, with the area under the ROC curve on test rows.
2. `tsne.svg`, given two workspaces of `benchmarks.unlabeled`: the test rows' embeddings, in two dimensions by
   t-SNE, of networks that learned without and with rows that have no label; wrong ones are marked.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks import DatasetError
from tasks.reading import read_content
from tasks.reporting.test_maps import COLOURS
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import read_facts
from tasks.tables.files import atomic_path
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array
from tasks.training.checkpoints import load_model
from tasks.training.embedding_map import place_in_plane

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_SIDE, _GAP = 330, 20


def draw_classes(n_rows: int, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """Points (N, 2) of two classes, each an ellipse of its own, and their classes (N,)."""
    classes = rng.integers(2, size=n_rows)
    shapes = np.array([[[1.6, 0.0], [0.9, 0.5]], [[0.6, 0.0], [-0.7, 1.3]]])
    centres = np.array([[-1.1, 0.0], [1.1, 0.4]])
    points = np.einsum("nij,nj->ni", shapes[classes], rng.normal(size=(n_rows, 2))) + centres[classes]
    return points, classes


def ellipse_of(covariance: Floats, scale: float) -> tuple[float, float, float]:
    """Half the long and the short axis, and the angle of the long one in degrees, of an ellipse (2, 2)."""
    values, vectors = np.linalg.eigh(covariance)
    short, long = scale * np.sqrt(np.maximum(values, 0))
    return float(long), float(short), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))


def qda_panels(n_labels: int = 12, n_unlabeled: int = 400, least: float = 0.99, seed: int = 2) -> list[str]:
    """Two panels, before and after the rows join whose class is at least `least` probable."""
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    points, classes = draw_classes(n_labels + n_unlabeled + 4_000, rng)
    own, others = slice(n_labels), slice(n_labels, n_labels + n_unlabeled)
    test = slice(n_labels + n_unlabeled, None)
    model = QuadraticDiscriminantAnalysis(store_covariance=True)
    panels, learned, labels = [], points[own], classes[own]
    for title in ("before", "after"):
        model.fit(learned, labels)
        auc = roc_auc_score(classes[test], model.predict_proba(points[test])[:, 1])
        shapes = [*_dots(points[others], np.full(n_unlabeled, -1), 1.3)] if title == "before" else []
        shapes += _dots(learned, labels, 1.3 if title == "after" else 2.6)
        for k in range(2):
            true = points[classes == k]
            shapes += _ellipses(true.mean(axis=0), np.cov(true.T), "#999", "4 3")
            shapes += _ellipses(model.means_[k], model.covariance_[k], COLOURS[k], "none")
        panels.append(_panel(f"{title}: {len(labels)} labels, AUC {auc:.4f}", shapes))
        probs = model.predict_proba(points[others])
        sure = probs.max(axis=1) >= least
        learned = np.concatenate([points[own], points[others][sure]])
        labels = np.concatenate([classes[own], probs.argmax(axis=1)[sure]])
    return panels


def tsne_panels(folders: Iterable[tuple[str, Path, str]], n_rows: int) -> list[str]:
    """A panel for each (title, workspace, checkpoint): embeddings of test rows in two dimensions.

    The first `n_rows` test rows are shown; the share of right ones is of all test rows.
    """
    panels = []
    for title, folder, checkpoint in folders:
        table = read_table(EXAMPLES.at(folder), EXAMPLES, columns=["split", "true_label"])
        rows = np.flatnonzero(column_array(table, "split") == "test")
        truth = column_array(table, "true_label")[rows]
        model, _ = load_model(folder / "models" / f"{checkpoint}.ckpt")
        found = model.predict(read_content(EXAMPLES.at(folder), read_facts(table)).take(rows))
        wrong = found.pred_probs.argmax(axis=1) != truth
        accuracy = 1 - wrong.mean()
        wrong, truth = wrong[:n_rows], truth[:n_rows]
        places = place_in_plane(found.embedding[:n_rows], max_iter=1_000)
        if places is None:
            raise DatasetError(f"{folder}: expected embeddings that differ, found none.")
        places = 7 * (places - places.mean(axis=0)) / np.abs(places - places.mean(axis=0)).max() / 2
        shapes = _dots(places, truth, 1.8)
        shapes += [
            f'<circle cx="{x:.2f}" cy="{y:.2f}" r="4.5" fill="none" stroke="#000" stroke-width="1"/>'
            for x, y in _on_paper(places[wrong])
        ]
        panels.append(_panel(f"{title}: {accuracy:.2%} of {len(rows):,} test rows right", shapes))
    return panels


def write_picture(path: Path, panels: list[str]) -> None:
    """Panels side by side, as one SVG file."""
    width = len(panels) * (_SIDE + _GAP)
    placed = "".join(
        f'<g transform="translate({k * (_SIDE + _GAP)} 0)">{p}</g>' for k, p in enumerate(panels)
    )
    with atomic_path(path) as temporary:
        temporary.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_SIDE + 30}" '
            f'font-family="sans-serif" font-size="13">{placed}</svg>\n',
            encoding="utf-8",
        )


def _on_paper(points: Floats) -> Floats:
    """Points of a square from -3.5 to 3.5 on a panel; y grows upwards."""
    return np.asarray((points * [1, -1] + 3.5) * _SIDE / 7)


def _dots(points: Floats, labels: npt.NDArray[np.integer], radius: float) -> list[str]:
    return [
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius}" fill="{COLOURS[k] if k >= 0 else "#ccc"}"/>'
        for (x, y), k in zip(_on_paper(points), labels.tolist(), strict=True)
        if 0 <= x <= _SIDE and 0 <= y <= _SIDE
    ]


def _ellipses(mean: Floats, covariance: Floats, colour: str, dashes: str) -> list[str]:
    (x, y), unit = _on_paper(mean[None])[0], _SIDE / 7
    found = []
    for scale in (1, 2):
        long, short, angle = ellipse_of(covariance, scale)
        found.append(
            f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{long * unit:.2f}" ry="{short * unit:.2f}" fill="none" '
            f'transform="rotate({-angle:.2f} {x:.2f} {y:.2f})" stroke="{colour}" stroke-width="1.6" '
            f'stroke-dasharray="{dashes}"/>'
        )
    return found


def _panel(title: str, shapes: list[str]) -> str:
    inside = f'<svg y="24" width="{_SIDE}" height="{_SIDE}">{"".join(shapes)}</svg>'
    frame = f'<rect y="24" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#bbb"/>'
    return f'<text x="2" y="15">{title}</text>{frame}{inside}'


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.why_unlabeled", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--without", type=Path, help="a workspace that learned from labelled rows alone")
    parser.add_argument("--with", dest="beside", type=Path, help="one that learned from other rows as well")
    parser.add_argument("--rows", type=int, default=2_000, help="test rows in the second picture")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    write_picture(chosen.folder / "qda.svg", qda_panels())
    if chosen.without and chosen.beside:
        pairs = [("without", chosen.without), ("with", chosen.beside)]
        named = [(title, folder, _checkpoint(folder)) for title, folder in pairs]
        write_picture(chosen.folder / "tsne.svg", tsne_panels(named, chosen.rows))
    return 0


def _checkpoint(folder: Path) -> str:
    """The name of the one checkpoint of a workspace."""
    (found,) = folder.joinpath("models").glob("*.ckpt")
    return found.stem


if __name__ == "__main__":
    sys.exit(main())
