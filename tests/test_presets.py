"""Presets: what they set, in a params.yaml or in a folder of their own."""

import itertools
from pathlib import Path

import pytest
from small_runs import ROOT

from benchmarks.unlabeled import LABELS, STEPS, settings
from tasks import ParamsError, plugins, presets
from tasks.command_line import main
from tasks.params import load_params, parse_params
from tasks.params_file import change_params

SHIPPED = (ROOT / "params.yaml").read_text()
WHERE = Path("params.yaml")
# Few labels of MNIST: it is for a folder of its own, as what it sets no other preset sets back.
IN_A_FOLDER = "mnist_few_labels"
OF_MODELS_HERE = [
    name
    for name in presets.names()
    if presets.read_preset(name)["train_fold.model"] in plugins.names("models")
]


def test_there_is_a_preset_for_each_data_set_but_those_that_people_bring() -> None:
    bring = {"parquet", "table", "folder", "label_studio", "arrays"}
    assert set(presets.names()) - {IN_A_FOLDER} == set(plugins.names("datasets")) - bring
    for name in presets.names():
        assert presets.read_preset(name)["download.dataset"] == ("mnist" if name == IN_A_FOLDER else name)


@pytest.mark.parametrize("name", OF_MODELS_HERE)
def test_a_preset_fits_params_yaml_and_keeps_its_comments(name: str) -> None:
    text = change_params(SHIPPED, presets.read_preset(name), WHERE)
    params = parse_params(text, WHERE)
    assert name.startswith(params.download.dataset)
    assert params.unlisted() == []
    comments = [line.split("#", 1)[1] for line in SHIPPED.splitlines() if "#" in line]
    assert [line.split("#", 1)[1] for line in text.splitlines() if "#" in line] == comments


def test_the_preset_of_params_yaml_itself_changes_nothing() -> None:
    assert parse_params(change_params(SHIPPED, presets.read_preset("mnist"), WHERE), WHERE) == parse_params(
        SHIPPED, WHERE
    )


ALONE = sorted(set(OF_MODELS_HERE) - {IN_A_FOLDER})
ALL_PAIRS = pytest.param(list(itertools.permutations(ALONE, 2)), marks=pytest.mark.endurance, id="all pairs")


@pytest.mark.parametrize(
    "pairs", [pytest.param(list(zip(ALONE, [*ALONE[1:], ALONE[0]], strict=True)), id="a ring"), ALL_PAIRS]
)
def test_a_preset_leaves_nothing_of_the_one_before(pairs: list[tuple[str, str]]) -> None:
    alone = {name: change_params(SHIPPED, presets.read_preset(name), WHERE) for name in ALONE}
    for first, second in pairs:
        both = change_params(alone[first], presets.read_preset(second), WHERE)
        assert parse_params(both, WHERE).chosen() == parse_params(alone[second], WHERE).chosen(), first


@pytest.mark.parametrize("n_labels", LABELS)
def test_the_preset_of_few_labels_is_what_the_benchmark_measures(n_labels: int) -> None:
    per_class = {"download.labels_per_class": n_labels // 10}
    text = change_params(SHIPPED, presets.read_preset(IN_A_FOLDER) | per_class, WHERE)
    measured = change_params(SHIPPED, settings("fixmatch", "mnist", n_labels, 0, STEPS), WHERE)
    params = parse_params(text, WHERE)
    assert params == parse_params(measured, WHERE)
    assert params.download.labels_per_class == n_labels // 10
    assert (params.retrain.objective, params.retrain.label_smoothing) == ("fixmatch", 0)


def test_an_unknown_preset_is_met_with_all_and_the_nearest() -> None:
    with pytest.raises(ParamsError) as caught:
        presets.read_preset("imagnette")
    assert "expected one of breast_cancer, covid_tweets, digits" in str(caught.value)
    assert "did you mean imagenette?" in str(caught.value)
    for name in ("../params", "", "zzz"):
        with pytest.raises(ParamsError, match="expected one of"):
            presets.read_preset(name)


def test_the_command_sets_values_here_or_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED)
    assert main(["preset", "digits", "--set", "train_fold.epochs=3", "--set", "train_fold.folds=[0, 1]"]) == 0
    params = load_params(path)
    assert (params.download.dataset, params.train_fold.epochs, params.train_fold.folds) == (
        "digits",
        3,
        (0, 1),
    )
    before = path.read_bytes()
    for wrong in (["nothing"], ["digits", "--set", "x"], ["digits", "--set", "train_fold.epochs=no"]):
        assert main(["preset", *wrong]) == 1
        assert path.read_bytes() == before
    assert "expected one of" in capsys.readouterr().err
    assert main(["preset"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in presets.names())


def test_a_folder_of_its_own_gets_the_files_that_the_data_set_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.workspace import create_workspace, read_code

    checkout = tmp_path / "checkout"
    create_workspace(checkout, read_code(ROOT))
    examples = checkout / "inputs" / "examples"
    for name in ("train.tsv", "test.tsv", "unrelated.parquet"):
        (examples / name).write_text(name)
    (tmp_path / "valid.tsv").write_text("valid.tsv")
    (examples / "valid.tsv").symlink_to(tmp_path / "valid.tsv")
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(presets, "CHECKOUT", checkout)
    folder = tmp_path / "tweets"
    for _ in range(2):
        presets.preset(checkout, ["covid_tweets", "--into", str(folder)])
        found = folder / "inputs" / "examples"
        assert sorted(path.name for path in found.iterdir()) == [
            "README.md",
            "test.tsv",
            "train.tsv",
            "valid.tsv",
        ]
        assert not any(path.is_symlink() for path in found.iterdir())
        assert (found / "train.tsv").samefile(examples / "train.tsv")
    assert load_params(folder / "params.yaml").download.dataset == "covid_tweets"
    assert (checkout / "params.yaml").read_text() == SHIPPED
