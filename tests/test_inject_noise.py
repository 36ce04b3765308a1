"""Stage inject_noise: only training labels are touched, and what changed is recorded."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import some_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import ArtifactError, DatasetError, ParamsError
from tasks.contents import Content, Features, Images, Texts
from tasks.inject_noise import inject_noise
from tasks.inject_noise.vectors import ContentReader, shrink
from tasks.params import Params, load_params
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.keys import example_ids_of
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parent.parent / "params.yaml")
NAMES = ("cat", "dog", "bird")
N = 60
IDS = np.arange(N) * 7 + 3
SPLIT = np.where(np.arange(N) < 40, "train", np.where(np.arange(N) < 55, "test", "unlabeled"))
TRAIN_IDS = IDS[:40]
TRUTH = [k % 3 if k < 55 else None for k in range(N)]
UNKNOWN: list[int | None] = [None] * N
MATRIX = ((0.5, 0.5, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5))


def params(**changes: Any) -> Params:
    section = SHIPPED.inject_noise.model_copy(update={"kind": "symmetric", "rate": 0.25, **changes})
    sets = {name: labels for name, labels in SHIPPED.retrain.label_sets.items() if name != "true"}
    retrain = SHIPPED.retrain.model_copy(update={"label_sets": sets})
    return SHIPPED.model_copy(update={"inject_noise": section, "retrain": retrain})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    write_examples(tmp_path)
    (tmp_path / "inputs" / "labels").mkdir(parents=True)
    return tmp_path


def write_examples(
    folder: Path,
    truth: list[int | None] = TRUTH,
    given: list[int | None] = UNKNOWN,
    names: tuple[str, ...] = NAMES,
    keys: list[str] | None = None,
    split: np.ndarray = SPLIT,
) -> None:
    """examples.parquet and, with rows moved to `split`, splits.parquet."""
    keys = keys or [str(id_) for id_ in IDS]
    ids = example_ids_of(keys, "")
    rows = {"example_id": ids, "key": keys, "split": SPLIT, "given_label": given, "true_label": truth}
    splits = {"example_id": ids, "group": ids, "split": split, "original_split": SPLIT}
    facts = DatasetFacts("mine", names, "features", (2,))
    for artifact, columns in (
        (EXAMPLES, {**rows, "features": np.zeros((N, 2), np.float32)}),
        (SPLIT_ROWS, splits),
    ):
        write_table(artifact.at(folder), make_table(artifact, facts, columns), artifact)


def given_labels(workspace: Path, **changes: Any) -> pa.Table:
    inject_noise(params(**changes), workspace)
    return read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)


def noisy(**changes: Any) -> dict[str, Any]:
    return {"kind": "file", "path": "labels.csv", **changes}


def refused(workspace: Path, error: type[Exception] = DatasetError, **changes: Any) -> str:
    with pytest.raises(error) as caught:
        given_labels(workspace, **changes)
    assert not (workspace / "data" / "given_labels.parquet").exists()
    return str(caught.value)


# --- noise made on purpose ------------------------------------------------------------------------------


KINDS = ["uniform", "symmetric", "pair", "matrix", "instance", "doubt"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_training_labels_change_and_every_change_is_recorded(workspace: Path, kind: str) -> None:
    table = given_labels(workspace, kind=kind, transition_matrix=MATRIX)
    given, true = column_array(table, "given_label"), column_array(table, "true_label")
    is_noisy = column_array(table, "is_noisy")
    np.testing.assert_array_equal(column_array(table, "example_id"), IDS[:55])  # the others have no label
    assert table.column("key").to_pylist() == [str(id_) for id_ in IDS[:55]]
    np.testing.assert_array_equal(column_array(table, "split"), SPLIT[:55])
    np.testing.assert_array_equal(true, TRUTH[:55])
    np.testing.assert_array_equal(is_noisy, given != true)
    assert not is_noisy[40:].any()
    changed = int(is_noisy.sum())
    assert changed == 10 if kind in ("symmetric", "pair", "doubt") else 0 < changed < 40
    assert read_facts(table).class_names == NAMES


def test_rows_are_training_rows_where_split_rows_says_so(workspace: Path) -> None:
    """Pooled test rows are made noisy like the others; rows that are held out are not."""
    split = np.where(SPLIT == "test", "train", np.where(np.arange(N) < 5, "held_out", SPLIT))
    write_examples(workspace, split=split)
    table = given_labels(workspace, kind="pair", rate=1.0)
    np.testing.assert_array_equal(column_array(table, "split"), split[:55])
    np.testing.assert_array_equal(column_array(table, "is_noisy"), split[:55] == "train")
    rows = [(int(IDS[k]), (k + 1) % 3) for k in range(55)]
    put(workspace, *zip(*rows, strict=True))
    assert column_array(given_labels(workspace, **noisy()), "is_noisy").all()


@pytest.mark.parametrize(
    ("truth", "brought", "given", "known"),
    [
        # Training labels as they come are in question, even where the data set calls them true.
        (TRUTH, UNKNOWN, TRUTH, [False] * 40 + [True] * 15),
        (UNKNOWN, TRUTH, TRUTH, [False] * 55),
        (TRUTH, [2] * 30 + [None] * 30, [2] * 30 + TRUTH[30:], [True] * 55),
    ],
)
def test_labels_as_they_come_are_those_of_people_or_else_true_ones(
    workspace: Path, truth: Any, brought: Any, given: Any, known: list[bool]
) -> None:
    write_examples(workspace, truth, brought)
    table = given_labels(workspace, kind="none")
    assert table.column("given_label").to_pylist() == given[:55]
    expected = [one if is_known else None for one, is_known in zip(truth, known, strict=False)]
    assert table.column("true_label").to_pylist() == expected
    assert table.column("is_noisy").to_pylist() == [
        None if one is None else one != label for one, label in zip(expected, given, strict=False)
    ]


@pytest.mark.parametrize("kind", ["none", "file"])
def test_retraining_on_a_truth_that_is_not_known_is_refused_before_any_training(
    workspace: Path, kind: str
) -> None:
    """Labels as they come are in question; of labels from a file the data set may know the truth, or not."""
    put(workspace, TRAIN_IDS, [0] * 40)
    wanted = params(kind=kind, path="labels.csv")
    wanted = wanted.model_copy(update={"retrain": SHIPPED.retrain})
    if kind == "file":
        inject_noise(wanted, workspace)
        GIVEN_LABELS.at(workspace).unlink()
        write_examples(workspace, [None, *TRUTH[1:]])
    with pytest.raises(ParamsError) as caught:
        inject_noise(wanted, workspace)
    assert f"not known of {40 if kind == 'none' else 1} of 40" in str(caught.value)
    assert "Remove `true`" in str(caught.value)
    assert not GIVEN_LABELS.at(workspace).exists()


def test_a_training_row_without_any_label_is_refused(workspace: Path) -> None:
    write_examples(workspace, UNKNOWN, [None, None, *TRUTH[2:]])
    found = refused(workspace, kind="none")
    assert "a label for every training row, found 2 of 40 without one" in found
    assert "kind: file" in found


def test_made_noise_starts_from_the_truth_whatever_people_said(workspace: Path) -> None:
    write_examples(workspace, TRUTH, [2] * N)
    table = given_labels(workspace, kind="symmetric")
    assert column_array(table, "is_noisy")[:40].sum() == 10
    assert set(column_array(table, "given_label")[40:]) == {2}


def test_pair_noise_moves_to_the_next_class(workspace: Path) -> None:
    table = given_labels(workspace, kind="pair", rate=1.0)
    train = column_array(table, "split") == "train"
    given, true = column_array(table, "given_label"), column_array(table, "true_label")
    np.testing.assert_array_equal(given[train], (true[train] + 1) % 3)


def test_matrix_noise_follows_the_rows_of_the_true_class(workspace: Path) -> None:
    table = given_labels(workspace, kind="matrix", transition_matrix=((0, 1, 0), (0, 1, 0), (1, 0, 0)))
    train = column_array(table, "split") == "train"
    given, true = column_array(table, "given_label"), column_array(table, "true_label")
    np.testing.assert_array_equal(given[train], np.array([1, 1, 0])[true[train]])


def test_the_rate_is_a_share_of_the_training_rows(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate in (0.0, 0.5, 1.0):
        table = given_labels(workspace, rate=rate)
        assert column_array(table, "is_noisy").sum() == round(rate * 40)
        said = f"{rate * 40:.0f} of 40 training labels are wrong (symmetric), data/given_labels.parquet\n"
        assert capsys.readouterr().out == f"inject_noise: {said}"


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_equal_bytes_and_another_seed_other_bytes(workspace: Path, kind: str) -> None:
    path = workspace / "data" / "given_labels.parquet"
    written = []
    for seed in (0, 0, 1):
        inject_noise(params(kind=kind, seed=seed, transition_matrix=MATRIX), workspace)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_noise_is_made_of_known_truth_alone(workspace: Path) -> None:
    write_examples(workspace, [None, None, *TRUTH[2:]], TRUTH)
    found = refused(workspace, kind="uniform")
    assert "inject_noise.kind: uniform starts from true labels; 2 training rows have none." in found


def test_unknown_truth_of_test_rows_only_leaves_them_out(workspace: Path) -> None:
    write_examples(workspace, TRUTH[:50] + [None] * 10)
    table = given_labels(workspace)
    np.testing.assert_array_equal(column_array(table, "example_id"), IDS[:50])


def test_unlabeled_rows_get_no_label_even_when_their_truth_is_known(workspace: Path) -> None:
    write_examples(workspace, [0] * N)
    assert set(column_array(given_labels(workspace), "split")) == {"train", "test"}


@pytest.mark.parametrize("size", [2, 4])
def test_a_matrix_of_another_size_than_the_classes_is_refused(workspace: Path, size: int) -> None:
    matrix = tuple(map(tuple, np.eye(size).tolist()))
    found = refused(workspace, ParamsError, kind="matrix", transition_matrix=matrix)
    assert f"inject_noise.transition_matrix has {size} rows; the data set has 3 classes" in found


@pytest.mark.parametrize("kind", ["symmetric", "pair", "instance", "doubt"])
def test_noise_that_needs_another_class_is_refused_for_one_class(workspace: Path, kind: str) -> None:
    write_examples(workspace, [0] * N, names=("cat",))
    found = refused(workspace, ParamsError, kind=kind)
    assert f"inject_noise.kind: {kind} needs at least 2 classes" in found


def test_missing_examples_name_the_stage_that_makes_them(tmp_path: Path) -> None:
    assert "`dvc repro download`" in refused(tmp_path, ArtifactError)


# --- noise that looks at the content ---------------------------------------------------------------------


def write_contents(folder: Path, content: Content, labels: np.ndarray, names: tuple[str, ...]) -> None:
    """Examples of any content, every fifth a test row, in a table of several row groups."""
    n = len(labels)
    split = np.where(np.arange(n) % 5 == 4, "test", "train")
    values = content.values()
    shape = () if content.kind == "text" else np.shape(values)[1:]
    facts = DatasetFacts("mine", names, content.kind, shape)
    columns = {"example_id": np.arange(n), "key": [str(k) for k in range(n)], "split": split}
    labels_of = {"given_label": [None] * n, "true_label": labels}
    table = make_table(EXAMPLES, facts, {**columns, **labels_of, content.kind: values})
    write_table(EXAMPLES.at(folder), table, EXAMPLES)
    splits = {"example_id": columns["example_id"], "group": columns["example_id"], "split": split}
    table = make_table(SPLIT_ROWS, facts, {**splits, "original_split": split})
    write_table(SPLIT_ROWS.at(folder), table, SPLIT_ROWS)


def digits_contents(n: int = 600) -> tuple[Images, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Images(np.rint(digits.images[:n] * 15).astype(np.uint8)), digits.target[:n]


@pytest.mark.parametrize("kind", ["instance", "doubt"])
@pytest.mark.parametrize("content", ["image", "text", "features"])
def test_noise_looks_at_pictures_texts_and_numbers(tmp_path: Path, kind: str, content: str) -> None:
    pictures, labels = digits_contents()
    names = tuple("0123456789")
    of_kind = {
        "image": pictures,
        "text": Texts([f"a {'even' if k % 2 else 'odd'} word{k} {row % 7}" for row, k in enumerate(labels)]),
        "features": Features(pictures.values().reshape(len(labels), -1).astype(np.float32)),
    }
    write_contents(tmp_path, of_kind[content], labels, names)
    found = [given_labels(tmp_path, kind=kind, rate=0.2, seed=seed) for seed in (0, 0, 1)]
    assert found[0].equals(found[1])
    assert not found[0].equals(found[2])
    is_noisy = column_array(found[0], "is_noisy")
    train = column_array(found[0], "split") == "train"
    assert not is_noisy[~train].any()
    assert is_noisy.sum() == 96 if kind == "doubt" else 70 < is_noisy.sum() < 125
    assert "sklearn" not in repr(found[0].schema.metadata)


def test_doubt_is_of_the_content_and_not_of_the_label_alone(tmp_path: Path) -> None:
    """Rows that lie between two classes are given the other one; rows far from it stay."""
    rng = np.random.default_rng(0)
    labels = np.arange(900) % 3
    centres = np.array([[0, 0], [4, 0], [40, 0]])
    values = (centres[labels] + rng.normal(size=(900, 2))).astype(np.float32)
    write_contents(tmp_path, Features(values), labels, NAMES)
    table = given_labels(tmp_path, kind="doubt", rate=0.1)
    given, wrong = column_array(table, "given_label"), column_array(table, "is_noisy").astype(bool)
    assert (labels[wrong] != 2).mean() > 0.9
    assert (given[wrong & (labels == 0)] == 1).all()
    nearness = -np.abs(values[:, 0] - 2)
    two = (labels != 2) & (column_array(table, "split") == "train")
    assert nearness[two & wrong].mean() > nearness[two & ~wrong].mean() + 0.5


def test_equal_rows_far_from_zero_do_not_drown_in_rounding(tmp_path: Path) -> None:
    values = np.full((60, 3), 1e7, dtype=np.float32)
    values[:, 0] += np.arange(60)
    write_contents(tmp_path, Features(values), np.arange(60) % 3, NAMES)
    reader = ContentReader(tmp_path, np.arange(60))
    standardised = np.concatenate(list(reader.standardised()))
    np.testing.assert_allclose(standardised[:, 0], (np.arange(60) - 29.5) / np.arange(60).std(), atol=0.01)
    np.testing.assert_array_equal(standardised[:, 1:], 0)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (1,), (3,)]))
def test_small_pictures_hold_the_means_of_squares(height: int, width: int, channels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(height * 41 + width)
    pictures = rng.integers(0, 256, (2, height, width, *channels), dtype=np.uint8)
    step, across = -(-height // 16), -(-width // 16)
    expected = [
        [
            pictures[:, row : row + step, column : column + across].mean(axis=(1, 2))
            for column in range(0, width, across)
        ]
        for row in range(0, height, step)
    ]
    wanted = np.moveaxis(np.array(expected), 2, 0).reshape(2, -1)
    np.testing.assert_allclose(shrink(pictures), wanted, rtol=1e-4)


def test_too_many_classes_and_too_few_rows_are_said_at_once(tmp_path: Path) -> None:
    names = tuple(str(k) for k in range(6_000))
    write_contents(tmp_path, Features(np.zeros((20, 8), np.float32)), np.arange(20), names)
    found = refused(tmp_path, ParamsError, kind="instance")
    assert "at most 5792 classes" in found
    found = refused(tmp_path, kind="doubt")
    assert "2 classes with 3 training rows, found 0" in found


# --- given labels from a file ---------------------------------------------------------------------------


def put(workspace: Path, ids: Any, labels: Any, name: str = "labels.csv") -> None:
    path = workspace / "inputs" / "labels" / name
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("example_id", "given_label"), *zip(ids, labels, strict=True)])
    else:
        pq.write_table(pa.table({"given_label": labels, "example_id": ids}), path)


@settings(max_examples=some_of(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.integers(0, 2), min_size=40, max_size=40),
    order=st.permutations(range(40)),
    name=st.sampled_from(["labels.csv", "labels.parquet"]),
    by_name=st.booleans(),
)
def test_labels_are_matched_by_id_whatever_the_order_format_and_spelling(
    workspace: Path, labels: list[int], order: list[int], name: str, by_name: bool
) -> None:
    spelled = [NAMES[labels[row]] if by_name else labels[row] for row in order]
    put(workspace, TRAIN_IDS[order], spelled, name)
    table = given_labels(workspace, **noisy(path=name))
    given, true = column_array(table, "given_label"), column_array(table, "true_label")
    assert given[:40].tolist() == labels
    np.testing.assert_array_equal(given[40:], true[40:])
    np.testing.assert_array_equal(column_array(table, "is_noisy"), given != true)


def test_rows_go_by_the_names_that_their_owner_gave_them(workspace: Path) -> None:
    """What looks like a number, a date or a truth value in a CSV file is a name all the same."""
    keys = ["007", "2026-01-01", "true", "NA", "1e5", "a,b.png", "e\u0301", *(f"{k}.png" for k in range(53))]
    write_examples(workspace, keys=keys)
    for name in ("labels.csv", "labels.parquet"):
        put(workspace, keys[39::-1], [(39 - k) % 3 for k in range(40)], name)
        table = given_labels(workspace, **noisy(path=name))
        of_key = dict(zip(*(table.column(each).to_pylist() for each in ("key", "given_label")), strict=True))
        assert [of_key[key] for key in keys[:40]] == [k % 3 for k in range(40)]
    GIVEN_LABELS.at(workspace).unlink()
    put(workspace, ["7", *keys[1:40]], [0] * 40)
    assert "found 1 unknown, the first 7." in refused(workspace, **noisy())
    put(workspace, keys[:39], [0] * 39)
    assert f"found 1 missing, the first {keys[39]}." in refused(workspace, **noisy())


def test_labels_from_a_file_need_no_truth(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_examples(workspace, [None] * 20 + TRUTH[20:])
    put(workspace, TRAIN_IDS, [2] * 40)
    table = given_labels(workspace, **noisy())
    assert table.column("given_label").to_pylist()[:40] == [2] * 40
    assert table.column("true_label").to_pylist() == [None] * 20 + TRUTH[20:55]
    assert table.column("is_noisy").to_pylist()[:20] == [None] * 20
    assert table.column("is_noisy").to_pylist()[20:40] == [label != 2 for label in TRUTH[20:40]]
    said = "inject_noise: 40 training labels (file), data/given_labels.parquet\n"
    assert capsys.readouterr().out == said


def test_other_columns_and_categories_are_no_obstacle(workspace: Path) -> None:
    labels = pa.array([NAMES[k % 3] for k in range(40)]).dictionary_encode()
    table = pa.table({"note": ["x"] * 40, "example_id": TRAIN_IDS.astype(np.int32), "given_label": labels})
    pq.write_table(table, workspace / "inputs" / "labels" / "labels.parquet")
    found = given_labels(workspace, **noisy(path="labels.parquet"))
    assert found.column("given_label").to_pylist()[:40] == [k % 3 for k in range(40)]


def test_a_file_in_a_subfolder_is_found(workspace: Path) -> None:
    (workspace / "inputs" / "labels" / "round1").mkdir()
    put(workspace, TRAIN_IDS, [0] * 40, "round1/labels.csv")
    assert column_array(given_labels(workspace, **noisy(path="round1/labels.csv")), "given_label")[0] == 0


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([*TRAIN_IDS, 5, 4], "rows that the training set has, found 2 unknown, the first 5."),
        ([*TRAIN_IDS, IDS[45]], f"found 1 unknown, the first {IDS[45]}."),
        (TRAIN_IDS[2:], "a label for every training row, found 2 missing, the first 3."),
        ([*TRAIN_IDS, 10, 3], "found 3 in 2 rows"),
        ([*TRAIN_IDS[1:], "three"], "found 1 unknown, the first three."),
        ([*TRAIN_IDS[1:], 3.0], "found 1 unknown, the first 3.0."),
        ([], "found 40 missing, the first 3."),
    ],
)
def test_rows_that_are_too_many_too_few_or_twice_are_counted_and_one_is_named(
    workspace: Path, ids: Any, says: str
) -> None:
    put(workspace, ids, [0] * len(ids))
    found = refused(workspace, **noisy())
    assert "labels.csv" in found
    assert says in found


@pytest.mark.parametrize(
    ("label", "shown"), [("fish", "fish"), ("Cat", "Cat"), (3, "3"), (-1, "-1"), ("1.5", "1.5")]
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_a_label_outside_the_classes_is_named(workspace: Path, label: Any, shown: str, name: str) -> None:
    put(workspace, TRAIN_IDS, [label] * 40, name)
    found = refused(workspace, **noisy(path=name))
    assert "expected labels among the 3 classes cat, dog, bird or their indices" in found
    assert f"found {shown} in row 0." in found


def test_names_in_some_rows_and_indices_in_others_are_refused(workspace: Path) -> None:
    put(workspace, TRAIN_IDS, ["cat"] * 39 + ["1"])
    assert "in every row, as in row 0, found 1 in row 39." in refused(workspace, **noisy())


@pytest.mark.parametrize(
    "path", ["../labels.csv", "../../data/examples.parquet", "/etc/hostname", "a/../../x"]
)
def test_a_path_outside_the_folder_is_refused(workspace: Path, path: str) -> None:
    (workspace / "inputs" / "labels.csv").write_text("example_id,given_label\n")
    assert f"inject_noise.path: expected a file inside {workspace}/inputs/labels, found {path}." in refused(
        workspace, **noisy(path=path)
    )


def test_a_link_that_leads_outside_the_folder_is_refused(workspace: Path) -> None:
    (workspace / "inputs" / "labels" / "labels.csv").symlink_to(workspace / "data" / "examples.parquet")
    assert "expected a file inside" in refused(workspace, **noisy())


@pytest.mark.parametrize("path", ["labels.csv", "", ".", "nowhere/labels.csv"])
def test_a_missing_file_is_named(workspace: Path, path: str) -> None:
    assert "inject_noise.path: expected the file" in refused(workspace, **noisy(path=path))


@pytest.mark.parametrize("path", ["a\0b.csv", "a" * 5000])
def test_a_path_that_no_file_can_have_is_refused(workspace: Path, path: str) -> None:
    assert "inject_noise.path: expected a file name" in refused(workspace, **noisy(path=path))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("example_id", "expected the column given_label, found example_id."),
        ("id,label", "expected the column given_label, found id, label."),
        ("given_label", "expected ids of the rows (a column example_id or id or key), found none"),
        ("example_id,given_label,given_label", "found 'given_label' again"),
    ],
)
def test_columns_that_are_missing_or_repeated_are_named(workspace: Path, header: str, says: str) -> None:
    cells = ",".join("1" * len(header.split(",")))
    (workspace / "inputs" / "labels" / "labels.csv").write_text(f"{header}\n{cells}\n")
    assert says in refused(workspace, **noisy())


@pytest.mark.parametrize("row", [("", 1), (3, ""), (None, 1), (3, None)])
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_an_empty_cell_is_refused(workspace: Path, row: tuple[Any, Any], name: str) -> None:
    id_, label = (None if cell == "" and name.endswith("parquet") else cell for cell in row)
    put(workspace, [id_, *TRAIN_IDS[1:].tolist()], [label, *[1] * 39], name)
    assert "found none in row 0" in refused(workspace, **noisy(path=name))


def test_a_label_of_spaces_is_no_class(workspace: Path) -> None:
    put(workspace, TRAIN_IDS, ["cat"] * 39 + [" "])
    assert "found ' ' in row 39." in refused(workspace, **noisy())


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "labels.txt"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff\xfe,given_label\n1,2\n", b"a,b\n1,2,3\n"])
def test_a_file_that_does_not_parse_is_refused(workspace: Path, name: str, content: bytes) -> None:
    (workspace / "inputs" / "labels" / name).write_bytes(content)
    assert f"{name}: expected " in refused(workspace, **noisy(path=name))
