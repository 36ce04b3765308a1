"""What `pseudo_label` says of rows without a label that do not join."""

import pytest

from tasks.pseudo_label import _say_done


@pytest.mark.parametrize(("n_joined", "said"), [(0, "hardly any"), (5, "learned from such rows")])
def test_the_reason_for_which_no_row_joins_is_the_one_that_holds(
    n_joined: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = [{"out_of_fold_accuracy": 0.9, "n_joined": count} for count in (0, n_joined)]
    metrics = {
        "actions": {"trusted": 9},
        "gate": {"sentence": None, "n_contested": 0, "n_doubtful": 0, "class_losses": []},
        "unlabeled": {"n_rows": 7, "n_joined": 0, "is_of_use": False, "rounds": rounds},
        "n_rows_before": 9,
        "n_rows_after": 9,
    }
    _say_done(metrics)
    line = next(line for line in capsys.readouterr().out.splitlines() if "joins" in line)
    assert said in line
    assert ("hardly any" in line) == (n_joined == 0)
