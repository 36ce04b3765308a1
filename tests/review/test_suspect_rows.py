"""What a reviewer sees: the order of the rows, and their contents from memory or from the file."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from own_forms import png
from PIL import Image
from small_runs import ROOT

from benchmarks.review import write_suspects
from review.server import Review
from review.suspect_rows import Contents, read_suspects
from tasks import ArtifactError
from tasks.command_line import main
from tasks.tables.catalog import EXAMPLES, PRED_PROBS, SPLIT_ROWS
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.keys import example_ids_of
from tasks.tables.schemas import column_array


@pytest.mark.parametrize("content", ["image", "text", "features"])
def test_contents_from_memory_and_from_the_file_are_the_same(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.tables.io.GROUP_ROWS", 16)
    write_suspects(tmp_path, 100, content=content)
    facts = read_suspects(tmp_path / "data").facts
    ids, given = np.array([990, 0, 170, 0]), np.zeros(4, dtype=np.int16)
    from_memory = Contents(tmp_path, facts).show(ids, given)
    monkeypatch.setattr("review.suspect_rows._IN_MEMORY_BYTES", 0)
    contents = Contents(tmp_path, facts)
    assert contents.show(ids, given) == from_memory
    assert from_memory[1] == from_memory[3] != from_memory[0]
    with pytest.raises(ArtifactError, match="1 missing, the first 5"):
        contents.show(np.array([0, 5]), given[:2])


def test_a_large_picture_comes_in_its_own_size(tmp_path: Path) -> None:
    write_suspects(tmp_path, 30, n_classes=3, side=200)
    path = tmp_path / "data" / "examples.parquet"
    contents = Contents(tmp_path, read_suspects(tmp_path / "data").facts)
    found, media_type = contents.picture(70, "70") or (b"", "")
    assert media_type == "image/png"
    expected = column_array(read_table(path, EXAMPLES, ["image"]), "image")[7]
    np.testing.assert_array_equal(255 - np.asarray(Image.open(io.BytesIO(found))), expected)
    assert contents.picture(71, "71") is None


def test_the_split_is_the_owners_and_without_a_table_of_splits_that_of_the_labels(tmp_path: Path) -> None:
    write_suspects(tmp_path, 200, content="features", test_share=0.3)
    data = tmp_path / "data"
    suspects = read_suspects(data)
    splits = read_table(data / "splits.parquet", SPLIT_ROWS)
    known = dict(zip(splits["example_id"].to_pylist(), splits["original_split"].to_pylist(), strict=True))
    assert suspects.split.tolist() == [known[example_id] for example_id in suspects.example_id.tolist()]
    assert suspects.splits == ("test", "train")
    (data / "splits.parquet").unlink()
    assert read_suspects(data).splits == ("train",)


def test_the_owners_own_file_is_shown_where_its_path_is_the_key(tmp_path: Path) -> None:
    write_suspects(tmp_path, 30, n_classes=3)
    params = (ROOT / "params.yaml").read_text().replace("dataset: mnist", "dataset: folder")
    (tmp_path / "params.yaml").write_text(params)
    folder = tmp_path / "inputs" / "examples" / "cats"
    folder.mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(b"no")
    (folder / "1.jpg").write_bytes(b"jpeg, as it is")
    Image.new("I;16", (40, 30)).save(folder / "2.tif")
    (folder / "3.tif").write_bytes(b"damaged")
    contents = Contents(tmp_path, read_suspects(tmp_path / "data").facts)
    assert contents.picture(0, "cats/1.jpg") == (b"jpeg, as it is", "image/jpeg")
    converted, media_type = contents.picture(0, "cats/2.tif") or (b"", "")
    assert (media_type, Image.open(io.BytesIO(converted)).size) == ("image/png", (40, 30))
    assert contents.have_original("cats/1.jpg")
    for other in ("cats/3.tif", "../../secret.jpg", "/etc/passwd", "cats", "none.jpg", "a" * 5000, "a\0b"):
        assert contents.picture(0, other) is None


def test_orders_of_review_are_those_of_the_scores(tmp_path: Path) -> None:
    write_suspects(tmp_path, 200)
    suspects = read_suspects(tmp_path / "data")
    assert np.array_equal(suspects.arrange("rank"), np.arange(200))
    assert (np.diff(suspects.suggested_prob[suspects.arrange("suggested_prob")]) <= 0).all()
    assert (np.diff(suspects.given_prob[suspects.arrange("self_confidence")]) >= 0).all()
    for score in ("normalized_margin", "confidence_weighted_entropy"):
        assert (np.diff(getattr(suspects, score)[suspects.arrange(score)]) >= 0).all()
    shuffled = suspects.arrange("random")
    assert sorted(shuffled.tolist()) == list(range(200)) != shuffled.tolist()
    probs = suspects.probabilities(0)
    assert [each["prob"] for each in probs] == sorted((each["prob"] for each in probs), reverse=True)


def test_three_classes_are_shown_where_the_given_one_is_the_second(tmp_path: Path) -> None:
    write_suspects(tmp_path, 200)
    data = tmp_path / "data"
    before = read_suspects(data)
    facts = before.facts
    probs = np.full((200, 10), 0.01, dtype=np.float32)
    places = np.argsort(np.argsort(before.example_id))
    probs[places, (before.given + 5) % 10] = 0.05
    probs[places, before.given] = before.given_prob
    probs[places, before.suggested] = before.suggested_prob
    columns = {"example_id": np.sort(before.example_id), "fold": np.arange(200) % 2, "pred_probs": probs}
    write_table(PRED_PROBS.at(tmp_path), make_table(PRED_PROBS, facts, columns), PRED_PROBS)
    suspects = read_suspects(data)
    rows = np.flatnonzero(suspects.second == suspects.given)[:50]
    assert {len(suspects.probabilities(row)) for row in rows} == {2}
    suspects.next_classes.read(suspects.example_id[rows])
    for row in rows:
        shown = suspects.probabilities(row)
        classes = [suspects.given[row], suspects.suggested[row], (suspects.given[row] + 5) % 10]
        assert sorted(each["label"] for each in shown) == sorted(facts.class_names[k] for k in classes)
        assert shown[2]["prob"] == pytest.approx(0.05)
    # A table that is damaged takes nothing but the third bar.
    PRED_PROBS.at(tmp_path).write_bytes(b"no table")
    again = read_suspects(data)
    again.next_classes.read(again.example_id[rows])
    assert len(again.probabilities(rows[0])) == 2


@pytest.fixture
def own_probs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Contents]:
    """A function that imports probabilities of 60 rows with examples, prunes, and opens their contents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    keys, given = [f"a/{row:02}.png" for row in range(60)], np.arange(60) % 3
    wide = np.where(np.eye(3)[np.roll(given, 1)] > 0, 0.8, 0.1)
    pd.DataFrame(wide, columns=list("xyz")).assign(id=keys).to_csv("p.csv", index=False)
    pd.DataFrame({"id": keys, "given_label": given}).to_csv("l.csv", index=False)

    def bring(*more: str) -> Contents:
        assert main(["import-probs", "--pred-probs", "p.csv", "--labels", "l.csv", *more]) == 0
        assert main(["prune"]) == 0
        return Contents(tmp_path, read_suspects(tmp_path / "data").facts)

    return bring


def test_beside_own_probabilities_a_text_is_shown_as_a_whole(own_probs: Callable[..., Contents]) -> None:
    keys = [f"a/{row:02}.png" for row in range(60)]
    text = "many words " * 200
    pd.DataFrame({"id": keys, "text": [f"{key} {text}" for key in keys]}).to_csv("t.csv", index=False)
    shown = own_probs("--examples", "t.csv").show(example_ids_of(keys[5:6], ""), np.zeros(1, np.int16))
    assert shown[0].text == f"{keys[5]} {text}"


def test_beside_own_probabilities_the_own_file_of_a_picture_is_shown(
    own_probs: Callable[..., Contents],
) -> None:
    folder = Path("inputs/examples/photos")
    for row in range(60):
        (folder / "a").mkdir(parents=True, exist_ok=True)
        (folder / f"a/{row:02}.png").write_bytes(png(np.full((300, 200), row, np.uint8)))
    contents = own_probs("--examples", str(folder), "--image-size", "32")
    assert contents.have_original("a/07.png")
    found, kind = contents.picture(int(example_ids_of(["a/07.png"], "")[0]), "a/07.png") or (b"", "")
    assert (found, kind) == ((folder / "a/07.png").read_bytes(), "image/png")
    assert not contents.have_original("../../../params.yaml")


def test_without_examples_the_page_says_that_there_are_none(own_probs: Callable[..., Contents]) -> None:
    shown = own_probs().show(example_ids_of(["a/07.png"], ""), np.zeros(1, np.int16))
    assert "only probabilities" in str(shown[0].text)


@pytest.mark.parametrize("name", ["data/label_issues.parquet", "reviews/decisions.csv"])
def test_a_link_to_itself_is_one_sentence(name: str, tmp_path: Path) -> None:
    write_suspects(tmp_path, 30, content="features", n_classes=3)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)
    with pytest.raises(ArtifactError, match=path.name):
        Review(tmp_path, "anna")
