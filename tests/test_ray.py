"""Ray as an engine, where it is installed: `python -m pip install '.[ray]'`."""

import pytest
from cluster_tests import lose_a_worker, refuse_silent
from doors import Door

from flows import FlowError
from flows.engines.clusters import check

pytest.importorskip("ray")


@pytest.mark.endurance
@pytest.mark.slow
def test_a_local_cluster_that_loses_a_worker_gives_the_bytes_of_a_local_run(done: Door) -> None:
    lose_a_worker(done, "ray")


def test_ray_client_is_refused() -> None:
    with pytest.raises(FlowError, match=r"^--address: expected HOST:6379, found ray://"):
        check("ray", "ray://127.0.0.1:10001")


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_that_does_not_answer_is_one_sentence_soon(
    listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_silent("ray", listens, monkeypatch)
