"""`python -m benchmarks.memory [MODEL]`: the peak memory of one training on photographs.

5,000 pictures of 128 x 128 x 3 (246 MB, random) lie in one array. A model, convnet unless named, learns from
4,000 of them for one epoch and predicts 1,000.
"""

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

from tasks import plugins
from tasks.contents import Images
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Loss, Rows, Run, build_model

N_ROWS, N_TRAINED, N_CLASSES, SHAPE = 5_000, 4_000, 10, (128, 128, 3)


def peak_mb() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def make_rows() -> Rows:
    rng = np.random.default_rng(0)
    pictures = np.empty((N_ROWS, *SHAPE), dtype=np.uint8)
    for picture in pictures:
        picture[:] = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    labels = rng.integers(0, N_CLASSES, N_ROWS)
    return Rows(Images(pictures), labels, np.ones(N_ROWS, dtype=np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="convnet", choices=plugins.names("models"))
    parser.add_argument("--precision", default="auto")
    chosen = parser.parse_args()
    if plugins.load("models", chosen.model).USES_TORCH:
        import tasks.training.torch_model  # noqa: F401
    imports_mb, rows = peak_mb(), make_rows()
    rows_mb = peak_mb()
    facts = DatasetFacts("noise", tuple(map(str, range(N_CLASSES))), "image", SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            seed=0,
            threads=1,
            accelerator="cpu",
            precision=chosen.precision,
            epochs=1,
            batch_size=256,
            loss=Loss(gce_q=0.5, label_smoothing=0.0),
            objective="supervised",
            objective_options=plugins.read_options("objectives", "supervised", None),
            log_dir=Path(folder),
            title=chosen.model,
        )
        model = build_model(chosen.model, facts, plugins.read_options("models", chosen.model, None), run)
        held_out = rows.take(slice(N_TRAINED, None))
        model.fit(rows.take(slice(0, N_TRAINED)), held_out)
        fitted_mb = peak_mb()
        model.predict(held_out.content)
    Console().print(
        f"{chosen.model}, {chosen.precision}: after imports {imports_mb:,.0f} MB, with the pictures "
        f"{rows_mb:,.0f}, after training {fitted_mb:,.0f}, after prediction {peak_mb():,.0f}",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
