"""Learning curves as files: the form of DVCLive."""

import json
import math
from pathlib import Path

from tasks.training.curves import Curves


def test_each_figure_is_a_table_and_the_last_of_each_is_summed_up(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    for epoch, loss in enumerate((0.8146753311157227, 0.31353092193603516), start=1):
        curves.log_metrics({"validation/loss": loss / 2}, step=epoch)
        curves.log_metrics({"train/loss": loss, "train/accuracy": 0.5}, step=epoch)
    tables = tmp_path / "plots" / "metrics"
    assert (tables / "train" / "loss.tsv").read_bytes() == (
        b"step\tloss\n1\t0.8146753311157227\n2\t0.31353092193603516\n"
    )
    assert (tables / "train" / "accuracy.tsv").read_bytes() == b"step\taccuracy\n1\t0.5\n2\t0.5\n"
    assert (tables / "validation" / "loss.tsv").exists()
    assert (tmp_path / "metrics.json").read_text() == (
        '{\n    "validation": {\n        "loss": 0.15676546096801758\n    },\n    "step": 2,\n'
        '    "train": {\n        "loss": 0.31353092193603516,\n        "accuracy": 0.5\n    }\n}\n'
    )


def test_what_is_no_number_is_written_as_a_word(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    curves.log_metrics({"train/loss": math.nan}, step=1)
    assert (tmp_path / "plots" / "metrics" / "train" / "loss.tsv").read_text() == "step\tloss\n1\tnan\n"
    assert '"loss": "nan"' in (tmp_path / "metrics.json").read_text()


def test_a_second_training_in_a_folder_begins_its_curves_anew(tmp_path: Path) -> None:
    for loss in (0.5, 0.25):
        Curves(tmp_path).log_metrics({"train/loss": loss}, step=1)
    assert (tmp_path / "plots" / "metrics" / "train" / "loss.tsv").read_text() == "step\tloss\n1\t0.25\n"


def test_what_a_callback_logs_has_a_name_of_one_part_or_of_many(tmp_path: Path) -> None:
    # Lightning's LearningRateMonitor logs `lr-SGD`.
    Curves(tmp_path).log_metrics({"lr-SGD": 0.1, "norms/head/weight": 2.0}, step=3)
    tables = tmp_path / "plots" / "metrics"
    assert (tables / "lr-SGD.tsv").read_text() == "step\tlr-SGD\n3\t0.1\n"
    assert (tables / "norms" / "head" / "weight.tsv").read_text() == "step\tweight\n3\t2.0\n"
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "lr-SGD": 0.1,
        "norms": {"head": {"weight": 2.0}},
        "step": 3,
    }
