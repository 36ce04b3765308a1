"""Comparisons on Prefect's page: from the command line, and after a run that changed something."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import Door

from flows import clean_labels
from flows.compare import main
from flows.dvc_api.kept import Cache
from flows.dvc_api.revisions import Revision
from flows.publish import show_changes

from prefect.client.orchestration import SyncPrefectClient, get_client  # isort: skip  # after flows
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
)
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings


def git(door: Door, *arguments: str) -> None:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *author, *arguments], cwd=door.folder, check=True)


@pytest.fixture
def prefect(environment: dict[str, str]) -> Iterator[SyncPrefectClient]:
    """A client of the server that the runs report to."""
    address = {PREFECT_API_URL: environment["PREFECT_API_URL"]}
    with temporary_settings(address), get_client(sync_client=True) as client:
        yield client


def published(client: SyncPrefectClient) -> list[Artifact]:
    """What no schedule published: the server is that of other tests too, and only schedules of theirs do."""
    chosen = ArtifactFilter(key=ArtifactFilterKey(any_=["comparison"]))
    by_hand = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(is_null_=True))
    return client.read_artifacts(artifact_filter=chosen, flow_run_filter=by_hand)


@pytest.mark.slow
def test_a_run_that_changed_something_publishes_what(
    done: Door,
    prefect: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    git(done, "add", "dvc.lock", "metrics")
    git(done, "commit", "--quiet", "--no-gpg-sign", "-m", "Ran")
    monkeypatch.chdir(done.folder)
    assert clean_labels.main(["--compare", "nothing-such"]) == 1
    assert "clean_labels: nothing-such: expected a git revision" in capsys.readouterr().err
    before = published(prefect)
    # What is kept as the last version is what was there before the run, not what the run keeps.
    kept = ["--record", "experiment", "--compare", "last"]
    log = done.flow("--set", "prune.filter_by=both", "--until", "prune", *kept)
    assert "1 of " in log
    assert "Kept as experiment relabel-" in log
    assert "workspace against HEAD: " in log
    (artifact,) = [artifact for artifact in published(prefect) if artifact not in before]
    assert artifact.flow_run_id is not None
    assert "| prune.filter_by | auto | both |" in str(artifact.data)
    assert "**Labels against HEAD**" in str(artifact.data)
    # A run that changes nothing publishes nothing.
    done.flow("--until", "prune", *kept)
    assert len(published(prefect)) == len(before) + 1

    # The same from the command line, where the tables are printed too.
    printed = done.run("flows.compare", "HEAD", "last", "--md", "--publish")
    (second,) = [each for each in published(prefect) if each.id != artifact.id and each not in before]
    assert str(second.data).strip() in printed
    assert second.flow_run_id is not None
    assert prefect.read_flow_run(second.flow_run_id).state_name == "Completed"
    # An experiment is compared as any version, and has what the workspace has.
    rows = [
        str(each.data).split("**Labels against HEAD**")[1].split("<details>")[0]
        for each in (artifact, second)
    ]
    assert [line.split("|")[2:] for line in rows[0].splitlines()[5:]] == [
        line.split("|")[2:] for line in rows[1].splitlines()[5:]
    ]


def test_a_comparison_that_fails_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*_: object) -> None:
        raise MemoryError("no room")

    (tmp_path / ".dvc").mkdir()
    base, workspace = (Revision(name, tmp_path, None, False, Cache(tmp_path)) for name in ("v1", "workspace"))
    monkeypatch.setattr("flows.publish.open_revisions", lambda *_: [workspace])
    monkeypatch.setattr("flows.publish.get_run_logger", lambda: logging.getLogger("run"))
    monkeypatch.setattr("flows.publish.compare", stumble)
    assert show_changes(base, lambda *_: None) == "Not compared: MemoryError: no room"
    assert "What changed since v1 could not be said." in caplog.text
    assert "in stumble" in caplog.text


def test_publishing_without_a_server_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.prefect_server.server_answers", lambda: False)
    assert main(["HEAD", "workspace", "--publish"]) == 1
    printed = capsys.readouterr()
    assert "--publish needs a Prefect server" in printed.err
    assert "prefect server start --host 127.0.0.1" in printed.err
    assert printed.out == ""
