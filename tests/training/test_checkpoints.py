"""What is written is read again; what is not ours, or no longer whole, is refused by its reason."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_trainings import (
    SMALL_MODELS,
    bar_rows,
    bars,
    build,
    cluster_rows,
    facts_of,
    fitted,
    rows_for,
    run_of,
)

from tasks import ArtifactError, plugins
from tasks.contents import Features, Images
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import load_model
from tasks.training.protocol import build_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of nearest_mean, which is made in no time."""
    folder = tmp_path_factory.mktemp("checkpoint")
    fitted(folder, cluster_rows(60), name="nearest_mean", n_classes=3).save(folder / "a.ckpt")
    return folder / "a.ckpt"


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None], **options: Any) -> Path:
    """A copy of a checkpoint whose members, by name, are changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def header_with(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["relabel.json"] = json.dumps(json.loads(members["relabel.json"]) | changes).encode()

    return change


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_a_checkpoint_round_trips_and_its_bytes_do_not_depend_on_its_name(tmp_path: Path, name: str) -> None:
    rows = rows_for(name, 64)
    model = fitted(tmp_path, rows, name=name)
    model.save(tmp_path / "a.ckpt")
    model.save(tmp_path / "other.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "other.ckpt").read_bytes()
    loaded, facts = load_model(tmp_path / "a.ckpt")
    assert facts == facts_of(rows.content)
    expected, found = model.predict(rows.content), loaded.predict(rows.content)
    np.testing.assert_array_equal(found.pred_probs, expected.pred_probs)
    np.testing.assert_array_equal(found.embedding, expected.embedding)
    loaded.save(tmp_path / "again.ckpt")
    assert (tmp_path / "again.ckpt").read_bytes() == (tmp_path / "a.ckpt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
        header = json.loads(archive.read("relabel.json"))
    assert (header["format"], header["model"]) == (2, name)
    with np.load(tmp_path / "a.ckpt") as arrays:  # NumPy opens it too
        assert len(arrays.files) > 2


def test_double_precision_is_kept(tmp_path: Path) -> None:
    model = fitted(tmp_path, bar_rows(64), precision="64-true")
    model.save(tmp_path / "a.ckpt")
    content = bar_rows(9).content
    loaded, _ = load_model(tmp_path / "a.ckpt")
    np.testing.assert_array_equal(loaded.predict(content).pred_probs, model.predict(content).pred_probs)


def test_names_of_features_travel_along(tmp_path: Path) -> None:
    rows = cluster_rows(30)
    facts = DatasetFacts("shop", ("a", "b", "ü"), "features", (5,), ("age", "x", "y", "z", "größe"))
    options = plugins.read_options("models", "nearest_mean", None)
    model = build_model("nearest_mean", facts, options, run_of(tmp_path))
    model.fit(rows, None)
    model.save(tmp_path / "a.ckpt")
    assert load_model(tmp_path / "a.ckpt")[1] == facts


def first_edition(path: Path, model: Any, **changes: Any) -> Path:
    """A checkpoint as the first edition wrote it: one grey mean, layers a level deeper, a whole recipe."""
    state = {
        name.replace("network.", "network.layers."): value.squeeze() if value.shape == (1, 1, 1) else value
        for name, value in model._classifier.state_dict().items()
    }
    recipe = {
        "folds": [0, 1],
        "network": "convnet",
        "epochs": 3,
        "batch_size": 16,
        "max_lr": 0.2,
        "muon_lr": 0.1,
        "weight_decay": 0.0005,
        "gce_q": 0.5,
        "label_smoothing": 0.0,
        "shift": 2,
        "eval_shift": 1,
        "precision": "32-true",
        "accelerator": "cpu",
        "threads": 1,
        "seed": 0,
    }
    content = {
        "state_dict": state,
        "recipe": recipe,
        "shape": [1, 8, 8],
        "dataset": "bars",
        "class_names": ["row", "column"],
    }
    content["recipe"] = {k: v for k, v in (recipe | changes).items() if v is not None}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "changes", [{}, {"a_new_knob": 5}, {"weight_decay": None, "accelerator": None}, {"accelerator": "gpu"}]
)
def test_checkpoints_of_the_first_edition_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = fitted(tmp_path)
    loaded, facts = load_model(first_edition(tmp_path / "old.ckpt", model, **changes))
    assert facts == DatasetFacts("bars", ("row", "column"), "image", (8, 8))
    content = bar_rows(20, seed=5).content
    # Where the file asks for a device that is not everywhere, the machine's own is taken.
    found, expected = (each.predict(content).pred_probs for each in (loaded, model))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_first_edition_of_features_is_read(tmp_path: Path) -> None:
    rows = cluster_rows(64)
    model: Any = fitted(tmp_path, rows, name="mlp", n_classes=3)
    path = first_edition(tmp_path / "old.ckpt", model, network="mlp")
    content = torch.load(path, weights_only=True)
    torch.save(content | {"shape": [5], "class_names": ["a", "b", "c"]}, path)
    loaded, facts = load_model(path)
    assert (facts.content, facts.shape) == ("features", (5,))
    np.testing.assert_array_equal(
        loaded.predict(rows.content).pred_probs, model.predict(rows.content).pred_probs
    )


@pytest.mark.parametrize("options", [{"C": 0.5, "later": [1]}, {}])
def test_one_option_more_or_less_does_not_matter(tmp_path: Path, options: dict[str, Any]) -> None:
    rows = cluster_rows(60)
    model = fitted(tmp_path, rows, name="logistic", n_classes=3)
    model.save(tmp_path / "a.ckpt")
    loaded, _ = load_model(rewritten(tmp_path / "a.ckpt", tmp_path / "b.ckpt", header_with(options=options)))
    np.testing.assert_array_equal(
        loaded.predict(rows.content).pred_probs, model.predict(rows.content).pred_probs
    )


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path, checkpoint: Path) -> None:
    path, touched = tmp_path / "evil.ckpt", tmp_path / "touched"
    torch.save({"state_dict": Attack(touched)}, path)
    with pytest.raises(ArtifactError, match=r"evil\.ckpt: .*a foreign file .*more than tensors"):
        load_model(path)
    path.write_bytes(pickle.dumps(Attack(touched)))
    with pytest.raises(ArtifactError, match="a foreign file"):
        load_model(path)
    objects = npy(np.array([Attack(touched)], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(rewritten(checkpoint, path, lambda members: members.update({"means.npy": objects})))
    assert not touched.exists()


@pytest.mark.parametrize("name", ["../../os", "os", "tasks.models.convnet", "Convnet", ""])
def test_only_a_model_of_the_folder_is_imported(tmp_path: Path, checkpoint: Path, name: str) -> None:
    path = rewritten(checkpoint, tmp_path / "b.ckpt", header_with(model=name))
    with pytest.raises(ArtifactError, match=r"not in tasks/models.*nearest_mean"):
        load_model(path)


def test_foreign_files_are_called_foreign(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.ckpt"
    for content in (b"\x89PNG....", b"hello", np.arange(5).tobytes()):
        foreign.write_bytes(content)
        with pytest.raises(ArtifactError, match="found a foreign file"):
            load_model(foreign)
    np.savez(tmp_path / "foreign.npz", weights=np.ones(3))
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("foreign.npz", "linear.pt", "list.pt"):
        with pytest.raises(ArtifactError, match="found a foreign file"):
            load_model(tmp_path / name)


@pytest.mark.parametrize("number", [3, 99, "2", None, 1])
def test_another_format_is_refused_by_its_number(tmp_path: Path, checkpoint: Path, number: Any) -> None:
    path = rewritten(checkpoint, tmp_path / "b.ckpt", header_with(format=number))
    with pytest.raises(ArtifactError, match=rf"format {number!r}, which this version does not know.*1 and 2"):
        load_model(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, checkpoint: Path, value: float) -> None:
    def spoil(members: dict[str, bytes]) -> None:
        means = np.load(io.BytesIO(members["means.npy"]))
        means[1, 2] = value
        members["means.npy"] = npy(means)

    with pytest.raises(ArtifactError, match=r"b\.ckpt: .*NaN or infinity in the weights `means`"):
        load_model(rewritten(checkpoint, tmp_path / "b.ckpt", spoil))
    model: Any = fitted(tmp_path, bar_rows(32), epochs=1)
    model._classifier.head.weight.data[0, 0] = value
    with pytest.raises(ArtifactError, match=r"old\.ckpt: .*NaN or infinity in the weights `head\.weight`"):
        load_model(first_edition(tmp_path / "old.ckpt", model))


def drop(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.pop(name) and None


DAMAGES: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "an array is missing": drop("means.npy"),
    "an array of another shape": lambda members: members.update({"means.npy": npy(np.zeros((3, 4)))}),
    "a shape that lies": lambda members: members.update(
        {"means.npy": npy(np.zeros((3, 5))).replace(b"(3, 5), }         ", b"(3, 5000000000), }")}
    ),
    "no array at all": lambda members: members.update({"means.npy": b"what"}),
    "no JSON": lambda members: members.update({"relabel.json": b"{"}),
    "JSON without an end": lambda members: members.update({"relabel.json": b"[" * 100_000}),
    "a list": lambda members: members.update({"relabel.json": b"[]"}),
    "no format": lambda members: members.update({"relabel.json": b"{}"}),
    "no UTF-8": lambda members: members.update({"relabel.json": b"\xff\xfe\xfd"}),
    "facts without names": header_with(facts={"dataset": "x"}),
    "options that are a number": header_with(options=3),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_said_to_be_damaged(
    tmp_path: Path, checkpoint: Path, damage: Callable[[dict[str, bytes]], Any]
) -> None:
    with pytest.raises(ArtifactError, match=r"b\.ckpt: .*damaged.*dvc repro retrain"):
        load_model(rewritten(checkpoint, tmp_path / "b.ckpt", damage))


def test_weights_of_another_network_are_damage(tmp_path: Path) -> None:
    fitted(tmp_path, bar_rows(32), epochs=1).save(tmp_path / "a.ckpt")
    for change in (header_with(model="mlp"), drop("head.bias.npy"), drop("mean.npy")):
        with pytest.raises(ArtifactError, match="damaged"):
            load_model(rewritten(tmp_path / "a.ckpt", tmp_path / "b.ckpt", change))


def test_an_option_out_of_range_is_damage(tmp_path: Path) -> None:
    fitted(tmp_path, bar_rows(32), epochs=1).save(tmp_path / "a.ckpt")
    path = rewritten(tmp_path / "a.ckpt", tmp_path / "b.ckpt", header_with(options={"eval_shift": 99}))
    with pytest.raises(ArtifactError, match=r"damaged"):
        load_model(path)


def test_compressed_members_are_refused_before_they_are_unpacked(tmp_path: Path, checkpoint: Path) -> None:
    def swell(members: dict[str, bytes]) -> None:
        members["means.npy"] = bytes(2**26)

    path = rewritten(checkpoint, tmp_path / "bomb.ckpt", swell, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtifactError, match="compressed"):
        load_model(path)


def test_a_file_that_is_not_there_or_cannot_be_read_is_named(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.ckpt: expected a checkpoint.*found no file"):
        load_model(tmp_path / "none.ckpt")
    with pytest.raises(ArtifactError, match="found a folder"):
        load_model(tmp_path)
    for n_bytes in (0, 3, 1000):
        (tmp_path / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:n_bytes])
        with pytest.raises(ArtifactError, match="damaged" if n_bytes != 3 else "foreign"):
            load_model(tmp_path / "cut.ckpt")


@given(st.data())
def test_any_changed_byte_is_harmless_or_refused(checkpoint: Path, data: st.DataObject) -> None:
    whole = checkpoint.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    path = checkpoint.with_name("changed.ckpt")
    path.write_bytes(changed)
    content = Features(cluster_rows(8).content.held)
    try:
        found = load_model(path)[0].predict(content).pred_probs
    except ArtifactError as error:
        assert "changed.ckpt" in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(found, load_model(checkpoint)[0].predict(content).pred_probs)


@given(st.data())
def test_a_first_edition_with_a_changed_byte_is_harmless_or_refused(
    old_checkpoint: tuple[Path, Any], data: st.DataObject
) -> None:
    source, expected = old_checkpoint
    changed = bytearray(source.read_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path = source.with_name("changed.ckpt")
    path.write_bytes(changed)
    try:
        loaded, _ = load_model(path)
    except ArtifactError:
        return
    np.testing.assert_array_equal(loaded.predict(Images(bars(8)[0])).pred_probs, expected)


@pytest.fixture(scope="module")
def old_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("old")
    model = fitted(folder, bar_rows(32), epochs=1, options={"eval_shift": 0})
    path = first_edition(folder / "old.ckpt", model, eval_shift=0)
    return path, model.predict(Images(bars(8)[0])).pred_probs


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
    model: Any = build(tmp_path, cluster_rows(9).content, name="nearest_mean", n_classes=3)
    model.fit(cluster_rows(9), None)
    model.arrays["means"] = np.array([object()])
    with pytest.raises(ValueError, match="Object arrays"):
        model.save(tmp_path / "a.ckpt")
    assert not list(tmp_path.glob("*ckpt*"))


def test_baselines_are_written_and_read_without_torch(tmp_path: Path, checkpoint: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.training.checkpoints import load_model\n"
        f"load_model(Path({str(checkpoint)!r}))[0].save(Path({str(tmp_path / 'b.ckpt')!r}))\n"
        "print([name for name in ('torch', 'sklearn', 'pandas') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert (tmp_path / "b.ckpt").read_bytes() == checkpoint.read_bytes()


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.ckpt")
    with pytest.raises(ArtifactError, match="a folder, pipe or device"):
        load_model(tmp_path / "model.ckpt")
