import numpy as np
import pytest

from tasks.tables.probabilities import rows_off_1


def test_rows_that_do_not_sum_to_1_are_found_with_their_sums() -> None:
    probs = np.array([[0.5, 0.5], [0.5, 0.25], [0.5, 0.5009], [0.5, 0.502]])
    rows, sums = rows_off_1(probs.astype(np.float32))
    assert rows.tolist() == [1, 3]
    assert sums == pytest.approx([0.75, 1.002])
