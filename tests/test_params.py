"""params.yaml: every fault is one ParamsError that names its path in the file."""

from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from pydantic import ValidationError
from ruamel.yaml import YAML

from benchmarks.workspaces import set_params
from tasks import ParamsError, plugins
from tasks.params import STAGES, Params, load_params

SHIPPED = Path(__file__).parent.parent / "params.yaml"
PLUGIN_SECTIONS = ("datasets", "models", "objectives", "pseudo_labels")


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
    assert set(content) == set(Params.model_fields) == {*STAGES, "check", *PLUGIN_SECTIONS}
    dumped = params.model_dump(mode="json")
    # Of a plug-in's options those that are left out have defaults.
    for kind in PLUGIN_SECTIONS:
        for name, options in content.pop(kind).items():
            assert options.items() <= dumped[kind][name].items()
        dumped.pop(kind)
    assert dumped == content


def test_dvc_changes_no_line_but_the_one_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shipped = SHIPPED.read_text()
    path.write_text(shipped)
    apply_overrides(path, ["prune.filter_by=both"])
    assert path.read_text() == shipped.replace("filter_by: auto", "filter_by: both")


def test_params_are_frozen_at_every_level() -> None:
    params = load_params(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        params.train_fold.epochs = 3
    with pytest.raises(ValidationError, match="frozen"):
        params.download = params.download


@pytest.mark.parametrize(
    "path", ["train_fold.epoch", "retrain.label_sets.given.tabel", "models.convnet.lr", "trainfold"]
)
def test_an_unknown_name_is_refused_by_its_path(changed, path: str) -> None:
    found = message(changed(path, 1))
    assert f"  {path}: " in found
    assert "not permitted" in found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train_fold.epochs", 0),
        ("train_fold.ensemble", 0),
        ("train_fold.ensemble", 11),
        ("train_fold.batch_size", 1),
        ("models.convnet.max_lr", 0),
        ("train_fold.gce_q", 1.5),
        ("train_fold.label_smoothing", 1),
        ("train_fold.threads", 0),
        ("split_rows.held_out_share", 0.6),
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
        ("pseudo_label.max_changed_share", 1.1),
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
        ("train_fold.ensemble", "two"),
        ("train_fold.ensemble", 1.5),
        ("train_fold.folds", 3),
        ("download.pool", "test"),
        ("models", 3),
        ("models.convnet", 0),
        ("inject_noise.kind", "random"),
        ("inject_noise.path", 3),
        ("prune.rank_by", []),
        ("pseudo_label.on_weak_model", "sing"),
        ("report", [1]),
        ("retrain.label_sets.given.table", "folds"),
        ("retrain.label_sets.given.checkpoint", "../escape"),
    ],
)
def test_a_wrong_type_or_choice_is_refused_by_its_path(changed, path: str, value: Any) -> None:
    assert f"  {path}: " in message(changed(path, value))


@pytest.mark.parametrize(
    ("path", "kind", "wrong", "meant"),
    [
        ("download.dataset", "datasets", "fashion-mnist", "fashion_mnist"),
        ("train_fold.model", "models", "conv_net", "convnet"),
        ("train_fold.objective", "objectives", "supervized", "supervised"),
        ("retrain.objective", "objectives", "supervized", "supervised"),
        ("prune.filter_by", "filters", "noise_posteriors", "noise_posterior"),
        ("pseudo_label.method", "pseudo_labels", "treshold", "threshold"),
        ("datasets.parqet", "datasets", "parqet", "parquet"),
    ],
)
def test_a_wrong_name_of_a_plugin_gets_the_list_and_the_nearest(changed, path, kind, wrong, meant) -> None:
    found = message(changed(path, {} if path.endswith(wrong) else wrong))
    listed = ", ".join(plugins.names(kind))
    assert f"  {path}: expected one of {listed}, found {wrong}; did you mean {meant}?" in found


def test_a_model_that_cannot_learn_from_the_data_set_is_refused_before_any_stage_runs(
    changed, add_plugin
) -> None:
    add_plugin("models", "texts_only", 'TAKES = ("text",)\nUSES_TORCH = False\nbuild = restore = None\n')
    found = message(changed("train_fold.model", "texts_only"))
    assert "`train_fold.model: texts_only` learns from text" in found
    assert "`download.dataset: mnist` gives image" in found


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("train_fold.network", "train_fold.model"),
        ("train_fold.max_lr", "models.convnet.max_lr"),
        ("assign_folds.n_splits", "train_fold.folds"),
        ("download.pool_test", "download.pool"),
    ],
)
def test_a_name_of_the_first_edition_is_told_its_new_one(changed, old: str, now: str) -> None:
    assert f"  {old}: is now {now}" in message(changed(old, 1))


def test_options_of_a_plugin_are_those_of_the_file_or_its_defaults(changed) -> None:
    params = load_params(changed("models", {"convnet": {"max_lr": 0.5}, "mlp": None}))
    assert params.options("models", "convnet").max_lr == 0.5
    defaults = plugins.load("models", "convnet").Options()
    assert params.options("models", "convnet").muon_lr == defaults.muon_lr
    for name in ("mlp", "logistic"):  # given as nothing, and not at all
        assert params.options("models", name) == plugins.load("models", name).Options()


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
    text = SHIPPED.read_text(encoding="utf-8")
    path.write_text(text.replace(text[text.index("report:") : text.index("# ---")], ""))
    assert message(path).splitlines()[1:] == ["  report: Field required"]


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = SHIPPED.read_text(encoding="utf-8")
    path.write_text(text.replace("rate: 0.1", "rate: 3").replace("max_lr: 0.2", "max_lr: no"))
    found = message(path)
    for name in ("inject_noise.rate", "models.convnet.max_lr", "models.mlp.max_lr"):
        assert f"  {name}: " in found


@pytest.mark.parametrize("folds", [[0], list(range(21)), [1, 2, 3], [1, 0], [0, 0, 1], []])
def test_folds_are_listed_in_order(changed, folds: list[int]) -> None:
    found = message(changed("train_fold.folds", folds))
    assert f"`folds` must list 2 to 20 folds in order, 0, 1, 2, ...; found {folds}" in found


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


def test_content_without_labels_needs_an_objective_that_learns_from_it(changed) -> None:
    path = changed("pseudo_label.otherwise", "unlabeled")
    assert "`retrain.objective: supervised` learns nothing from rows without a label" in message(path)
    set_params(path, {"retrain.objective": "fixmatch"})
    assert load_params(path).pseudo_label.otherwise == "unlabeled"
