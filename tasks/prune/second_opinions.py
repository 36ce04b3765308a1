"""The self-tests of the filter, and who has a second opinion on the rows that they ask about."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError
from tasks.label_quality.importance import block_rows
from tasks.label_quality.issues import IssueRows
from tasks.label_quality.self_tests.neighbours_vote import ask_neighbours
from tasks.label_quality.self_tests.run import Ask, SelfTests, run_self_tests
from tasks.params import Prune
from tasks.prune.input_tables import REMEDY
from tasks.prune.labelled_rows import LabelledRows
from tasks.prune.ranking import suspicion
from tasks.prune.row_importance import in_blocks
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


def test_itself(rows: LabelledRows, issues: IssueRows, section: Prune) -> SelfTests:
    """What the self-tests say of the chosen filter on these rows.

    Raises:
        ArtifactError: an embedding is not finite.
    """
    return run_self_tests(
        rows,
        issues.flagged[section.filter_by].rows,
        who_to_ask(rows),
        filter_by=section.filter_by,
        score=suspicion(issues, section),
        frac_noise=section.frac_noise,
        min_examples_per_class=section.min_examples_per_class,
    )


def who_to_ask(rows: LabelledRows) -> Ask | None:
    """Who has a second opinion on the rows: a second table of probabilities, or neighbours by embedding."""
    predictions = rows.predictions
    if "second_probs" in predictions.schema.names:
        return lambda asked: ask_second_table(predictions, asked)
    if "embedding" not in predictions.schema.names:
        return None

    def ask(asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # As in `measure_importance`.
        from threadpoolctl import threadpool_limits

        n_rows = block_rows(predictions.shape_of("embedding")[0])
        try:
            with threadpool_limits(1), ThreadPoolExecutor(rows.n_threads) as pool:
                return ask_neighbours(
                    lambda: in_blocks(predictions, n_rows),
                    rows.labels,
                    predictions.column("fold"),
                    asked,
                    each=pool.map,
                )
        except ValueError as error:
            raise ArtifactError(f"{predictions.where}: column `embedding`: {error}. {REMEDY}") from error

    return ask


def ask_second_table(predictions: TableReader, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(Q,) the most probable class of the rows `asked` (Q,), which ascend, by the second table."""
    found = []
    for number, (start, stop) in enumerate(pairwise(predictions.starts.tolist())):
        first, last = np.searchsorted(asked, (start, stop))
        if last > first:
            probs = column_array(predictions.read(number, ["second_probs"]), "second_probs")
            found.append(probs[asked[first:last] - start].argmax(axis=1))
    return np.concatenate(found)
