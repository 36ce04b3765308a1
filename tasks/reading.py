"""Reading the content of a data set: all rows at once, as training needs them."""

from pathlib import Path

import pyarrow as pa

from tasks.contents import Content, Features, Images, Texts
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import DatasetFacts
from tasks.tables.portions import TableReader


def read_content(path: Path, facts: DatasetFacts) -> Content:
    """The content of data/examples.parquet, all rows in order of `example_id`.

    Pictures and features fill one array, portion by portion, so memory holds each of them once.

    Raises:
        ArtifactError: the file is missing, damaged or not what it should be.
    """
    reader = TableReader(path, EXAMPLES, [facts.content])
    if facts.content == Texts.kind:
        return Texts([text for table in reader.portions() for text in table.column("text").to_pylist()])
    values = reader.column(facts.content)
    # What reading took is free again for training, which takes it elsewhere.
    pa.default_memory_pool().release_unused()
    return Images(values) if facts.content == Images.kind else Features(values)
