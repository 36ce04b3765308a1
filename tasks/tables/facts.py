"""What all stages share about a data set: it travels in the metadata of every table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tasks import ArtifactError

_FACTS_KEY = b"relabel"


@dataclass(frozen=True)
class DatasetFacts:
    """What all stages share about a data set; travels in the metadata of every table.

    `class_names` (K,) gives names by class index. `content` is `image`, `text` or `features`; `shape` is
    the shape of one row of the content, e.g. (28, 28), and is empty for text. `feature_names` (d,) are what
    the owner calls the columns of `features`; empty where they have no names. `columns` say how the owner's
    columns became these (`tasks.own_files.encoding`); empty where they came as they are. `raw_content` and
    `raw_shape` are those of the rows where a model learned from frozen features of them; empty elsewhere.
    """

    dataset: str
    class_names: tuple[str, ...]
    content: str
    shape: tuple[int, ...]
    feature_names: tuple[str, ...] = ()
    columns: tuple[Mapping[str, object], ...] = ()
    raw_content: str = ""
    raw_shape: tuple[int, ...] = ()

    @property
    def n_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)


def read_facts(table: pa.Table, where: str = "table") -> DatasetFacts:
    """The facts about the data set that travel in a table's metadata.

    Raises:
        ArtifactError: the metadata is missing or not readable.
    """
    raw = (table.schema.metadata or {}).get(_FACTS_KEY)
    try:
        facts = json.loads(raw)  # type: ignore[arg-type]  # None is caught below with the rest
        return _checked(
            DatasetFacts(
                dataset=facts["dataset"],
                class_names=tuple(facts["class_names"]),
                content=facts["content"],
                shape=tuple(facts["shape"]),
                feature_names=tuple(facts.get("feature_names", ())),
                columns=tuple(facts.get("columns", ())),
            )
        )
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
        found = repr(raw)
        found = found if len(found) <= 200 else f"{found[:200]}..."
        raise ArtifactError(
            f"{where}: expected the schema metadata `relabel` (JSON with dataset, class_names, content, "
            f"shape), found {found}. Rebuild the file with `dvc repro`."
        ) from error


def _checked(facts: DatasetFacts) -> DatasetFacts:
    """The same, if its values are such as a stage writes.

    Raises:
        ValueError: they are not.
    """
    texts = (facts.dataset, facts.content, *facts.class_names, *facts.feature_names)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("names that are no text")
    if len(set(facts.class_names)) < len(facts.class_names):
        raise ValueError("a class name twice")
    if not all(isinstance(size, int) and size >= 0 for size in facts.shape):
        raise ValueError("a size that is no number")
    return facts


def facts_metadata(facts: DatasetFacts) -> dict[bytes, bytes]:
    """The metadata of a table's schema that `read_facts` reads back."""
    content = {
        "dataset": facts.dataset,
        "class_names": list(facts.class_names),
        "content": facts.content,
        "shape": list(facts.shape),
        **({"feature_names": list(facts.feature_names)} if facts.feature_names else {}),
        **({"columns": list(facts.columns)} if facts.columns else {}),
    }
    return {_FACTS_KEY: json.dumps(content).encode()}
