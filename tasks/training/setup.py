"""What the two training stages share: the rows as the model takes them, and the model, untrained."""

import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError, plugins
from tasks.contents import Content, Features
from tasks.params import Params
from tasks.reading import read_content
from tasks.tables.catalog import EXAMPLES, FEATURES
from tasks.tables.facts import DatasetFacts
from tasks.tables.portions import TableReader
from tasks.training.protocol import Loss, Model, Run, build_model


def read_rows(params: Params, workspace: Path) -> tuple[npt.NDArray[np.int64], Content, DatasetFacts]:
    """(N,) ids of all rows, the rows as the model takes them, and the facts of the data set.

    A model with `extract` learns from data/features.parquet, every other from data/examples.parquet.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    examples = TableReader(EXAMPLES.at(workspace), EXAMPLES, [])
    facts = examples.facts
    if not hasattr(plugins.load("models", params.train_fold.model), "extract"):
        return examples.column("example_id"), read_content(EXAMPLES.at(workspace), facts), facts
    features = TableReader(FEATURES.at(workspace), FEATURES, [], optional=["features"])
    if "features" not in features.schema.names:
        raise ArtifactError(
            f"{features.path}: expected the column `features`, which the model {params.train_fold.model} "
            "learns from, found ids alone. Rebuild it with `dvc repro features`."
        )
    return features.column("example_id"), Features(features.column("features")), facts


def make_model(
    params: Params,
    facts: DatasetFacts,
    content: Content,
    *,
    seed: int,
    loss: Loss,
    objective: str,
    log_dir: Path,
    title: str,
) -> Model:
    """The model of `train_fold.model`, untrained, for rows like those of `content`.

    `log_dir` is made anew: it is an output of the stage, which models without curves leave empty.

    Raises:
        ParamsError: it cannot learn from rows of this kind, or by this objective.
    """
    section = params.train_fold
    shutil.rmtree(log_dir, ignore_errors=True)
    log_dir.mkdir(parents=True)
    run = Run(
        seed=seed,
        threads=section.threads,
        accelerator=section.accelerator,
        precision=section.precision,
        epochs=section.epochs,
        min_steps=section.min_steps,
        batch_size=section.batch_size,
        loss=loss,
        objective=objective,
        objective_options=params.options("objectives", objective),
        log_dir=log_dir,
        title=title,
    )
    if isinstance(content, Features) and facts.content != Features.kind:
        # The model learns from features of the rows, not from the rows.
        facts = replace(
            facts,
            content=content.kind,
            shape=content.held.shape[1:],
            feature_names=(),
            columns=(),
            raw_content=facts.content,
            raw_shape=facts.shape,
        )
    # What a model needs is imported here.
    with nothing_collected():
        return build_model(section.model, facts, params.options("models", section.model), run)


@contextmanager
def nothing_collected() -> Iterator[None]:
    """No garbage is looked for within: what imports make stays, and looking takes a sixth of their time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
