"""Stage split_rows: copies form groups, pooled rows become training rows, whole groups are held out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import ArtifactError, neighbours
from tasks.assign_folds import assign_folds
from tasks.params import Params, load_params
from tasks.split_rows import split_rows
from tasks.tables.catalog import EXAMPLES, FEATURES, FOLDS, GIVEN_LABELS, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parent.parent / "params.yaml")
N = 200


def params(pool: tuple[str, ...] = (), **changes: Any) -> Params:
    return SHIPPED.model_copy(
        update={
            "download": SHIPPED.download.model_copy(update={"pool": pool}),
            "split_rows": SHIPPED.split_rows.model_copy(update=changes),
        }
    )


def write_examples(folder: Path, split: list[str], **columns: Any) -> np.ndarray:
    """Examples of which every tenth row is a copy of the row before it; returns ids."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N, 4)).astype(np.float32)
    values[1::10] = values[0::10]
    ids = 3 * np.arange(N) + 7
    facts = DatasetFacts("mine", ("cat", "dog"), "features", (4,))
    content = {
        "example_id": ids,
        "key": [str(example_id) for example_id in ids],
        "split": split,
        "given_label": np.arange(N) % 2,
        "true_label": [None] * N,
        "features": values,
        **columns,
    }
    write_table(EXAMPLES.at(folder), make_table(EXAMPLES, facts, content), EXAMPLES)
    write_table(FEATURES.at(folder), make_table(FEATURES, facts, {"example_id": ids}), FEATURES)
    return ids


def run(folder: Path, chosen: Params) -> dict[str, np.ndarray]:
    split_rows(chosen, folder)
    table = read_table(SPLIT_ROWS.at(folder), SPLIT_ROWS)
    return {name: column_array(table, name) for name in table.column_names}


@pytest.mark.parametrize("near", [True, False])
def test_a_group_is_called_after_its_lowest_id(tmp_path: Path, near: bool, capsys) -> None:
    ids = write_examples(tmp_path, ["train", "test"] * (N // 2))
    found = run(tmp_path, params(near_duplicates=near))
    np.testing.assert_array_equal(found["example_id"], ids)
    expected = ids.copy()
    expected[1::10] = ids[0::10]
    np.testing.assert_array_equal(found["group"], expected)
    assert "40 rows are duplicates or near duplicates, in 20 groups" in capsys.readouterr().out


def test_rows_of_a_pooled_split_become_training_rows_and_others_stay(tmp_path: Path) -> None:
    splits = ["train", "test", "valid", "unlabeled"] * (N // 4)
    write_examples(tmp_path, splits)
    found = run(tmp_path, params(pool=("test",)))
    assert found["original_split"].tolist() == splits
    expected = ["train" if name == "test" else name for name in splits]
    assert found["split"].tolist() == expected


def test_without_a_test_split_whole_groups_of_each_class_are_held_out(tmp_path: Path) -> None:
    write_examples(tmp_path, ["train"] * 150 + ["unlabeled"] * 50)
    found = run(tmp_path, params(held_out_share=0.2))
    held = found["split"] == "held_out"
    assert not held[150:].any()
    assert held.sum() == pytest.approx(30, abs=2)
    of_class = held[:150].reshape(-1, 2).sum(axis=0)
    assert abs(int(of_class[0]) - int(of_class[1])) <= 2
    for group in np.unique(found["group"][:150]):
        assert len(set(held[:150][found["group"][:150] == group])) == 1
    again = run(tmp_path, params(held_out_share=0.2))
    assert (again["split"] == found["split"]).all()
    other = run(tmp_path, params(held_out_share=0.2, held_out_seed=1))
    assert (other["split"] != found["split"]).any()


def test_rows_that_the_owner_puts_together_are_held_out_and_folded_together(tmp_path: Path) -> None:
    patients = [f"p{row // 8}" if row < 160 else None for row in range(N)]
    ids = write_examples(tmp_path, ["train"] * N, group=patients)
    found = run(tmp_path, params(held_out_share=0.2))
    # Rows 0 and 1 are copies; that rows are of one patient makes them no duplicates.
    assert len(np.unique(found["group"])) == N - 20
    assert len(np.unique(found["together"][:160])) == 20
    assert (found["together"][:8] == ids[0]).all()
    held = found["split"] == "held_out"
    assert 20 <= held.sum() <= 60
    for patient in range(20):
        assert len(set(held[8 * patient : 8 * patient + 8])) == 1
    facts = DatasetFacts("mine", ("cat", "dog"), "features", (4,))
    labels = {
        "example_id": ids,
        "key": ids.astype(str),
        "split": found["split"],
        "given_label": np.arange(N) % 2,
    }
    labels |= {"true_label": [None] * N, "is_noisy": [None] * N}
    write_table(GIVEN_LABELS.at(tmp_path), make_table(GIVEN_LABELS, facts, labels), GIVEN_LABELS)
    assign_folds(params(), tmp_path)
    folds = read_table(FOLDS.at(tmp_path), FOLDS)
    of_row = dict(zip(folds.column("example_id").to_pylist(), folds.column("fold").to_pylist(), strict=True))
    assert len(set(of_row.values())) == 5
    for patient in range(20):
        members = ids[8 * patient : 8 * patient + 8]
        assert len({of_row.get(int(member)) for member in members}) == 1


@pytest.mark.parametrize(("splits", "pool"), [(["train", "test"], ()), (["train", "test"], ("test",))])
def test_with_a_test_split_pooled_or_not_no_row_is_held_out(
    tmp_path: Path, splits: list[str], pool: tuple[str, ...]
) -> None:
    write_examples(tmp_path, splits * (N // 2))
    assert "held_out" not in run(tmp_path, params(pool=pool, held_out_share=0.2))["split"]


def test_a_missing_table_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="dvc repro download"):
        split_rows(params(), tmp_path)


def test_beyond_the_limit_of_exact_search_the_copies_are_found_and_the_search_is_told(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    pytest.importorskip("faiss", reason="the extra `ann` is not installed")
    write_examples(tmp_path, ["train", "test"] * (N // 2))
    exact = run(tmp_path, params())
    assert "faiss" not in capsys.readouterr().out
    monkeypatch.setattr(neighbours, "MOST_EXACT_ROWS", 100)
    assert np.array_equal(run(tmp_path, params())["group"], exact["group"])
    assert "are searched by faiss" in capsys.readouterr().out
