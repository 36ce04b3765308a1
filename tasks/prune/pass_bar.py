"""A progress bar over the passes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from tasks.params import Prune
from tasks.tables.portions import TableReader

_N_PASSES = 4
# Of the self-tests; a filter may need one less for each of two kinds of planted errors.
_N_TEST_PASSES = 8
# Below so many probabilities a progress bar would be gone before it is read.
_LONG = 50_000_000


@contextmanager
def progress_bar(
    console: Console, predictions: TableReader, section: Prune
) -> Iterator[Callable[[float], None]]:
    """Yield what to tell which share of a pass is done: a bar, on a terminal and where the way is long."""
    entries = predictions.n_rows * predictions.shape_of("pred_probs")[0]
    if entries < _LONG or not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("prune", total=_N_PASSES + _N_TEST_PASSES * section.self_tests)
        yield lambda share: bar.advance(task, share)
