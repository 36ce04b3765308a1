"""params.yaml: every fault is one ParamsError that names its path in the file."""

from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from pydantic import ValidationError
from ruamel.yaml import YAML

from tasks import ParamsError
from tasks.label_quality.filter_files import filter_names
from tasks.params import Params, load_params

SHIPPED = Path(__file__).parent.parent / "params.yaml"


@pytest.fixture
def changed(tmp_path: Path):
    """A function that sets `section.name` in a copy of the shipped file and gives the copy's path."""

    def change(path: str, value: Any) -> Path:
        content = YAML(typ="safe").load(SHIPPED.read_text(encoding="utf-8"))
        *sections, name = path.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[name] = value
        target = tmp_path / "params.yaml"
        with target.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(content, file)
        return target

    return change


def message(path: Path) -> str:
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_shipped_file_loads_with_its_own_values() -> None:
    params = load_params(SHIPPED)
    content = YAML(typ="safe").load(SHIPPED.read_text(encoding="utf-8"))
    assert set(content) == set(Params.model_fields)
    dumped = params.model_dump(mode="json")
    assert dumped == content


def test_dvc_changes_no_line_but_the_one_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shipped = SHIPPED.read_text()
    path.write_text(shipped)
    apply_overrides(path, ["prune.filter_by=both"])
    assert path.read_text() == shipped.replace("filter_by: noise_posterior", "filter_by: both")


def test_params_are_frozen_at_every_level() -> None:
    params = load_params(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        params.train_fold.epochs = 3
    with pytest.raises(ValidationError, match="frozen"):
        params.download = params.download


@pytest.mark.parametrize("path", ["train_fold.epoch", "retrain.label_sets.given.tabel", "trainfold"])
def test_an_unknown_name_is_refused_by_its_path(changed, path: str) -> None:
    found = message(changed(path, 1))
    assert f"  {path}: " in found
    assert "not permitted" in found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train_fold.epochs", 0),
        ("train_fold.batch_size", 1),
        ("train_fold.max_lr", 0),
        ("train_fold.muon_lr", 11),
        ("train_fold.gce_q", 1.5),
        ("train_fold.label_smoothing", 1),
        ("train_fold.threads", 0),
        ("assign_folds.n_splits", 1),
        ("assign_folds.n_splits", 21),
        ("assign_folds.seed", 2**32),
        ("inject_noise.rate", 1.01),
        ("inject_noise.rate", -0.1),
        ("inject_noise.rate", float("nan")),
        ("inject_noise.seed", -1),
        ("download.connect_timeout_s", 0),
        ("download.connect_timeout_s", float("inf")),
        ("download.retries", 11),
        ("download.sources", []),
        ("aggregate.calibration_bins", 1),
        ("prune.frac_noise", 0),
        ("pseudo_label.min_confidence", 2),
        ("retrain.label_sets", {}),
        ("report.top_issues", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_path(changed, path: str, value: Any) -> None:
    found = message(changed(path, value))
    assert f"  {path}: " in found
    assert f"(found {value!r})" in found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train_fold.epochs", "many"),
        ("train_fold.epochs", 1.5),
        ("train_fold.epochs", None),
        ("train_fold.folds", 3),
        ("train_fold.network", "transformer"),
        ("download.dataset", "cifar"),
        ("download.pool_test", "perhaps"),
        ("inject_noise.kind", "random"),
        ("inject_noise.path", 3),
        ("prune.filter_by", "all"),
        ("prune.rank_by", []),
        ("report", [1]),
        ("retrain.label_sets.given.table", "folds"),
        ("retrain.label_sets.given.checkpoint", "../escape"),
    ],
)
def test_a_wrong_type_or_choice_is_refused_by_its_path(changed, path: str, value: Any) -> None:
    assert f"  {path}: " in message(changed(path, value))


def test_a_wrong_filter_gets_the_list_and_the_nearest_one(changed) -> None:
    found = message(changed("prune.filter_by", "noise_posteriors"))
    assert "  prune.filter_by: " in found
    assert ", ".join(filter_names()) in found
    assert "noise_posterior?" in found


def test_a_wrong_source_is_named_by_its_place_in_the_list(changed) -> None:
    assert "  download.sources.1: " in message(changed("download.sources", ["local", "ftp"]))


def test_an_unknown_label_set_is_refused(changed) -> None:
    extra = {"table": "given_labels", "checkpoint": "x"}
    assert "retrain.label_sets.mine" in message(changed("retrain.label_sets", {"mine": extra}))


def test_a_missing_value_is_named_without_quoting_its_whole_section(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = SHIPPED.read_text(encoding="utf-8")
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("  epochs:")))
    found = message(path)
    assert "  train_fold.epochs: Field required" in found
    assert "batch_size" not in found


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").split("report:")[0])
    assert message(path).splitlines()[1:] == ["  report: Field required"]


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = SHIPPED.read_text(encoding="utf-8")
    path.write_text(text.replace("rate: 0.1", "rate: 3").replace("n_splits: 5", "n_splits: 50"))
    found = message(path)
    assert "inject_noise.rate" in found
    assert "assign_folds.n_splits" in found


@pytest.mark.parametrize("folds", [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [4, 3, 2, 1, 0], []])
def test_folds_must_be_those_of_n_splits(changed, folds: list[int]) -> None:
    found = message(changed("train_fold.folds", folds))
    assert "`train_fold.folds`" in found
    assert "`assign_folds.n_splits: 5`" in found
    assert "[0, 1, 2, 3, 4]" in found
    assert f"found {folds}" in found


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.5, 0.4], [0.0, 1.0]],
        [[0.5, 0.5001], [0.0, 1.0]],
        [[1.0, 0.0]],
        [[1.0], [1.0]],
        [[0.5, 0.5], [1.0]],
    ],
)
def test_a_matrix_must_be_square_with_rows_that_sum_to_one(changed, tmp_path: Path, matrix) -> None:
    path = changed("inject_noise.transition_matrix", matrix)
    path.write_text(path.read_text().replace("kind: symmetric", "kind: matrix"))
    found = message(path)
    assert "  inject_noise: `transition_matrix` must be square with rows that sum to 1; row " in found


def test_a_matrix_with_an_entry_outside_zero_to_one_is_refused_by_its_cell(changed) -> None:
    found = message(changed("inject_noise.transition_matrix", [[1.0, 0.0], [1.5, -0.5]]))
    assert "inject_noise.transition_matrix.1.0" in found
    assert "inject_noise.transition_matrix.1.1" in found


def test_a_right_matrix_is_kept(changed) -> None:
    path = changed("inject_noise.transition_matrix", [[0.9, 0.1], [0.2, 0.8]])
    path.write_text(path.read_text().replace("kind: symmetric", "kind: matrix"))
    section = load_params(path).inject_noise
    assert section.kind == "matrix"
    assert section.transition_matrix == ((0.9, 0.1), (0.2, 0.8))


@pytest.mark.parametrize(("kind", "needed"), [("matrix", "transition_matrix"), ("file", "path")])
def test_a_kind_without_the_value_it_needs_is_refused(changed, kind: str, needed: str) -> None:
    assert f"  inject_noise: kind: {kind} needs `{needed}`" in message(changed("inject_noise.kind", kind))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "found no file" in message(tmp_path / "params.yaml")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    assert "expected a readable file" in message(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"download: [1",
        b"a: b: c",
        b"\ttrain_fold:",
        b"a: \x00",
        b"a: \xff\xfe",
        b"rate: 2020-99-99",
        b"a: !!python/object/apply:os.system ['true']",
        b"a: 1\na: 2",
    ],
)
def test_text_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert "does not parse" in message(path)


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "only words", "3"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    assert "dictionary" in message(path)
