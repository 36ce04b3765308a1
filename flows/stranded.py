"""Scheduled runs that Prefect shows as running, though their process is gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

# flows sets Prefect's settings
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Crashed


def end_stranded(client: SyncPrefectClient, deployment: UUID, but: UUID | None = None) -> None:
    """Mark the runs of a deployment that say they are at work as crashed, which frees their place.

    The caller knows that none of them is: it holds the workspace against other flows.

    Args:
        client: of the server.
        deployment: whose runs, of which one may be at work at a time.
        but: the run that is.
    """
    at_work = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]),
        ),
    )
    for run in client.read_flow_runs(flow_run_filter=at_work):
        if run.id != but:
            message = "Its process is gone: it was killed, or could not tell the server how it ended."
            client.set_flow_run_state(run.id, Crashed(message=message))


@contextmanager
def only_run() -> Iterator[None]:
    """Within a run of a deployment: when it ends well, no other says any more that it is at work.

    Where the deployment has one place, this run has it, so that whoever had it before is gone. The server may
    take that for a reason to free the place once more, which does no harm at the end.
    """
    yield
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment(context.flow_run.deployment_id)
        limit = deployment.global_concurrency_limit
        if limit is not None and limit.limit == 1:
            end_stranded(client, deployment.id, but=context.flow_run.id)
