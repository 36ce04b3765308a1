"""The comparison as a Prefect flow: an artifact of its run, and of each scheduled run that asks for one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.comparison.printing import markdown
from flows.comparison.result import Comparison
from flows.comparison.versions import compare, compare_versions
from flows.dvc_api.revisions import WORKSPACE, Revision, open_revisions
from flows.prefect_server import need_server
from tasks import RelabelError


@flow(name="compare", persist_result=False, validate_parameters=False)
def compare_flow(
    root: str = ".",
    revisions: Sequence[str] = ("last", "workspace"),
    with_rows: bool = True,
    with_contents: bool = False,
) -> State[Comparison]:
    """Publish what changed between versions.

    Args:
        root: the folder with dvc.yaml.
        revisions: versions, the first of them the base.
        with_rows: compare labels too, which needs the data of every version.
        with_contents: read the pictures of the most changed rows, for a page.
    """
    found = compare_versions(Path(root).resolve(), revisions, with_rows, with_contents)
    publish(found)
    return Completed(message=summarise(found), data=found)


def publish(
    comparison: Comparison, show: Callable[..., object] = lambda publish, **content: publish(**content)
) -> None:
    """Show the comparison on the page of the run that calls this; `show` may take what goes wrong."""
    show(
        create_markdown_artifact,
        key="comparison",
        markdown=markdown(comparison),
        description=summarise(comparison),
    )


def summarise(comparison: Comparison) -> str:
    """What changed, in one line."""
    said = [
        f"{rows.version} against {rows.base}: {len(rows.changes['newly flagged']):,} labels newly flagged, "
        f"{len(rows.changes['no longer flagged']):,} no longer"
        for rows in comparison.rows
    ]
    names = ", ".join(version.name for version in comparison.versions[1:])
    return f"{'; '.join(said) or f'{names} against {comparison.versions[0].name}'}."


def show_changes(base: Revision, show: Callable[..., object]) -> str:
    """Show on the run's page what changed since `base`; a sentence on that, or on why it cannot be said."""
    try:
        found = compare([base, *open_revisions(base.root, [WORKSPACE])])
        publish(found, show)
        return summarise(found)
    except RelabelError as error:
        return f"Not compared: {error}"
    except Exception as error:  # the run is done and kept, even if the comparison fails
        get_run_logger().exception("What changed since %s could not be said.", base.name)
        return f"Not compared: {type(error).__name__}: {error}"


def run_flow(root: Path, names: Sequence[str], with_rows: bool, with_contents: bool) -> Comparison:
    """Compare as a flow of the Prefect server that PREFECT_API_URL names.

    Raises:
        FlowError: no server answers, or see `compare`.
    """
    need_server("--publish")
    state: State[Any] = compare_flow(str(root), names, with_rows, with_contents, return_state=True)
    found: Comparison = state.result()  # raises what went wrong
    return found
