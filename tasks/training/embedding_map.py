"""Embeddings as points of a plane, for people to look at: t-SNE.

van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
"""

import numpy as np
import numpy.typing as npt

MOST_ROWS = 2_000
"""So many rows take 4 to 10 seconds of processor time."""
_PERPLEXITY = 30.0
_SEED = 0


def choose_rows(n_rows: int) -> npt.NDArray[np.intp]:
    """(M,) positions of at most `MOST_ROWS` of N rows, evenly spaced: rows may be sorted by class."""
    return np.linspace(0, n_rows - 1, min(n_rows, MOST_ROWS)).round().astype(np.intp)


def place_in_plane(embedding: npt.NDArray[np.float32], max_iter: int = 500) -> npt.NDArray[np.float32] | None:
    """(M, 2) points, near one another where embeddings (M, D) are; None where there is nothing to see.

    The same each time: it begins with the two main axes, and runs on one core. Distances between far groups
    mean little.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n_rows, width = embedding.shape
    # A perplexity asks for three times as many neighbours.
    perplexity = min(_PERPLEXITY, (n_rows - 1) / 3)
    if perplexity < 1 or width < 2 or np.ptp(embedding, axis=0).max() == 0:
        return None
    tsne = TSNE(random_state=_SEED, init="pca", perplexity=perplexity, max_iter=max_iter)
    # Sums in another order would give another picture.
    with threadpool_limits(1):
        return np.asarray(tsne.fit_transform(embedding), dtype=np.float32)
