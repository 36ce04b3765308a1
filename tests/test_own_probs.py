"""The pipeline of docs/own_probs.yaml, by real DVC."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from forms import write_form
from small_runs import ROOT, dvc

from benchmarks.workspaces import make_workspace
from tasks.intake.command import init
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES
from tasks.tables.io import read_table

NAMES = np.array(["ant", "bee", "cat"])


@pytest.mark.slow
def test_names_of_files_may_hold_spaces_accents_and_marks(tmp_path: Path) -> None:
    name = "Anna's (neue) Käfer & co; probs"
    folder = tmp_path / f"workspace of {name}"
    make_workspace(folder, {}, source=ROOT)
    true = np.arange(300) % 3
    given = np.where(np.arange(300) % 11 == 0, (true + 1) % 3, true)
    keys = [f"site b/{k}.png" for k in range(300)]
    wide = dict(zip(NAMES, np.where(np.eye(3)[true] > 0, 0.9, 0.05).T, strict=True))
    inputs = tmp_path / "given"
    inputs.mkdir()
    probs = write_form(inputs, name, "european", {"id": keys} | wide)
    labels = write_form(
        inputs,
        f"{name} labels",
        "tsv",
        {"id": keys[::-1], "given_label": NAMES[given[::-1]], "gold": NAMES[true[::-1]]},
    )
    texts = write_form(
        inputs, f"{name} texts", "csv", {"id": keys[::-1], "text": [f"All of <{key}>" for key in keys[::-1]]}
    )
    asked = ["--labels", str(labels), "--truth", "gold", "--examples", str(texts)]
    init(folder, [str(probs), *asked])
    said = dvc(folder, "repro")
    assert "WARNING" not in said
    page = (folder / "report" / "index.html").read_text()
    first = sorted(np.array(keys)[given != true])[0]
    assert f"All of &lt;{first}&gt;" in page
    assert "No model was trained here" in page
    assert "symmetric" not in page
    metrics = json.loads((folder / "metrics" / "label_issues.json").read_text())
    assert (metrics["precision"], metrics["recall"]) == (1, 1)
    issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES)
    flagged = issues.filter(issues.column("is_issue")).column("key").to_pylist()
    assert sorted(flagged) == sorted(np.array(keys)[given != true])
    assert "up to date" in dvc(folder, "repro")
    # An import that was broken off is made again.
    GIVEN_LABELS.at(folder).unlink()
    assert "import_probs" in dvc(folder, "repro")
    assert GIVEN_LABELS.at(folder).exists()


@pytest.mark.slow
def test_an_experiment_elsewhere_has_the_inputs_that_are_named(tmp_path: Path) -> None:
    """Neither git nor DVC knows them: a copy of the workspace lacks them otherwise."""
    make_workspace(tmp_path / "workspace", {}, source=ROOT)
    folder = tmp_path / "workspace"
    (folder / "dvc.yaml").write_text((ROOT / "docs" / "own_probs.yaml").read_text())
    np.save(folder / "inputs" / "probs" / "pred_probs.npy", np.eye(3, dtype=np.float32)[np.arange(60) % 3])
    labels = "".join(f"{k % 3}\n" for k in range(60))
    (folder / "inputs" / "probs" / "labels.csv").write_text(f"given_label\n{labels}")
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["add", "--all"], [*author, "commit", "--quiet", "--no-gpg-sign", "-m", "Own"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    copied = [
        word for name in ("pred_probs.npy", "labels.csv") for word in ("--copy-paths", f"inputs/probs/{name}")
    ]
    change = ["-S", "prune.frac_noise=0.5"]
    said = dvc(folder, "exp", "run", "--temp", *copied, "--name", "apart", *change, "prune")
    assert "Ran experiment(s): apart" in said
    assert "Queued" in dvc(folder, "exp", "run", "--queue", *copied, "--name", "queued", *change, "prune")
    dvc(folder, "exp", "run", "--run-all")
    assert {"apart", "queued"} <= set(dvc(folder, "exp", "list", "--name-only").split())
