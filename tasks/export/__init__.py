"""`python -m tasks export OUT`: the repaired labels, in the form in which the data came.

No stage: it reads what the stages wrote, and changes nothing but OUT. Every form holds a row for each row of
the data, dropped ones included; `dropped.csv` lists those, each with why.
"""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from tasks import ArtifactError
from tasks.decisions.log import PATH, digest_of, read_whole
from tasks.export.folders import write_folder
from tasks.export.label_studio import write_tasks
from tasks.export.rows import ACTION, COLUMNS, Written, collect_rows, drop_of, require_results
from tasks.export.tables import write_list, write_list_of, write_own_table, write_parquet_set
from tasks.params import Params, load_params
from tasks.tables.catalog import EXAMPLES

_FORMS: dict[str, Callable[[Params, Path, pa.Table, Path, bool], Written]] = {
    "folder": write_folder,
    "table": write_own_table,
    "label_studio": write_tasks,
    "parquet": write_parquet_set,
}
"""By the data set that was read; all others are a list of keys and labels."""


def export(workspace: Path, arguments: Sequence[str]) -> None:
    """Write what the command line asks for.

    Raises:
        RelabelError: the pipeline has not come to the end, OUT is there already, or cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tasks export", description="The repaired labels, in the form in which the data came."
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="a folder that is not there yet")
    parser.add_argument(
        "--copy", action="store_true", help="of pictures: also copy them into folders of their new classes"
    )
    chosen = parser.parse_args(arguments)
    require_results(workspace)
    params = load_params(workspace / "params.yaml")
    rows, _ = collect_rows(workspace)
    written = write_export(params, workspace, rows, chosen.out, chosen.copy)
    print(f"export: {chosen.out}: {written.said}")
    print(f"export: {count_actions(written.rows, written.rows.num_rows - rows.num_rows)}")
    _say_stale(workspace)


def count_actions(rows: pa.Table, n_left_out: int) -> str:
    """How many rows each action is of; the rows that were left out are among those that are not judged."""
    counts = Counter(rows.column(ACTION).to_pylist())
    said = ", ".join(f"{n:,} {action}" for action, n in sorted(counts.items()))
    return said + (f" ({n_left_out:,} left out, as nothing can be learned from them)" if n_left_out else "")


def write_export(params: Params, workspace: Path, rows: pa.Table, out: Path, copy: bool) -> Written:
    """Write `rows` (see `collect_rows`) to the folder `out`, whole or not at all.

    Raises:
        ArtifactError: `out` is there, or cannot be written.
        DatasetError: the data that were read are not there any more, or have changed.
    """
    if out.exists() or out.is_symlink():
        raise ArtifactError(f"{out}: expected a folder that is not there yet, found one. Name another.")
    # Imported probabilities come without a data set.
    has_data = EXAMPLES.at(workspace).exists()
    write = _FORMS.get(params.download.dataset, write_list) if has_data else write_list
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent) as made:
            folder = Path(made) / "out"
            folder.mkdir()
            written = write(params, workspace, rows, folder, copy)
            dropped = drop_of(rows)
            if dropped.num_rows:
                write_list_of(dropped, folder / "dropped.csv")
                why = f"dropped.csv says why {dropped.num_rows:,} are dropped"
                written = Written(written.rows, f"{written.said}; {why}")
            folder.rename(out)
    except (OSError, shutil.Error) as error:
        raise ArtifactError(f"{out}: it cannot be written ({error}). Nothing was left there.") from error
    return written


def _say_stale(workspace: Path) -> None:
    """Say so where people decided since the labels were repaired."""
    metrics = workspace / "metrics" / "training_set.json"
    try:
        applied = json.loads(metrics.read_text("utf-8"))["decisions"]["md5"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if applied != digest_of(read_whole(workspace / PATH)):
        print(f"export: decisions in {PATH} are newer than the repair; `dvc repro` applies them.")


__all__ = ["COLUMNS", "export", "write_export"]
