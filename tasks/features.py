"""Stage `features`: frozen features of all rows, computed once, where the model learns from such."""

from pathlib import Path

from tasks import plugins
from tasks.contents import OF_KIND
from tasks.params import Params
from tasks.tables.catalog import EXAMPLES, FEATURES
from tasks.tables.io import write_stream
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


def features(params: Params, workspace: Path) -> None:
    """Write data/features.parquet: features of each row if the model asks for them, else ids alone.

    A model asks for them by defining `extract`. Memory follows a portion of the examples.

    Raises:
        ArtifactError: data/examples.parquet is missing or not what it should be.
    """
    model = plugins.load("models", params.train_fold.model)
    extract = getattr(model, "extract", None)
    with_content = extract is not None
    examples = TableReader(EXAMPLES.at(workspace), EXAMPLES, [])
    facts = examples.facts
    width = 0
    with write_stream(FEATURES.at(workspace), FEATURES, facts) as append:
        for table in examples.portions([facts.content] if with_content else []):
            columns: dict[str, object] = {"example_id": column_array(table, "example_id")}
            if extract is not None:
                content = OF_KIND[facts.content](column_array(table, facts.content))
                columns["features"] = features = extract(content, params.features.accelerator)
                width = features.shape[1]
            append(columns)
    found = f"{width:,} numbers a row" if with_content else "the model learns from the rows themselves: none"
    print(f"features: {found}, {FEATURES.path}")
