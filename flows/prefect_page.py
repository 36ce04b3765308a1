"""What a run shows on Prefect's page beside its tasks."""

from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run


class Page:
    """What a run shows on Prefect's page beside its tasks. A server that is gone does not stop the run."""

    def __init__(self) -> None:
        self._lost = False

    def show(self, publish: Callable[..., object], **content: object) -> object:
        """Call one of `prefect.artifacts`; None where there is no server to call any more."""
        if self._lost:
            return None
        try:
            return publish(**content)
        except httpx.HTTPError:
            self._lost = True
            return None


def name_run(name: str) -> None:
    """Give the run of a flow that calls this another name on the page."""
    if flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(str(flow_run.id)), name=name)


class Bar:
    """A bar of progress on the page. It is made when it first moves."""

    def __init__(self, page: Page, key: str, description: str) -> None:
        self._page = page
        self._named = {"key": key, "description": description}
        self._id: object = None

    def move(self, share: float) -> None:
        """Show how much is done, in [0, 1]."""
        percent = 100 * share
        if self._id is None:
            self._id = self._page.show(create_progress_artifact, progress=percent, **self._named)
        else:
            self._page.show(update_progress_artifact, artifact_id=self._id, progress=percent)
