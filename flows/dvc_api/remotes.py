"""DVC's cache and remotes: what they have, and workspaces that share them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from flows import FlowError
from flows.dvc_api.repository import open_repository


def check_remote(root: Path, option: str) -> None:
    """Check that there is a default remote for `option`, which needs one.

    Raises:
        FlowError: DVC has none.
    """
    with open_repository(root) as repo:
        if not repo.config["core"].get("remote"):
            raise FlowError(
                f"{option}: expected a default DVC remote, found none. Make one with "
                "`dvc remote add --default NAME URL`."
            )


def pull(root: Path) -> None:
    """Fetch what DVC's default remote has of this version, run-cache included; what it lacks will be run.

    Raises:
        FlowError: the remote gave nothing though something is missing here.
    """
    command = ["pull", "--run-cache", "--allow-missing", "--force"]
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *command],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    missing = len(re.findall(r"^md5: ", done.stdout, flags=re.MULTILINE))
    said = " ".join(re.findall(r"^ERROR: (.*)", done.stdout, flags=re.MULTILINE))
    if missing and "Everything is up to date." in done.stdout:
        # If a remote does not answer, DVC says that it lacks the files. The run would then train for hours.
        said = f"none of the {missing} files that are missing here"
    elif done.returncode == 0:
        return
    raise FlowError(
        f"--pull: expected data from DVC's remote, found {said or 'nothing'}. See that it can be reached "
        "(`dvc remote list`), or run without --pull to compute them."
    )


def dvc_folder(root: Path) -> Path:
    """The nearest folder .dvc, from `root` upwards: one DVC repository may have pipelines in several folders.

    Raises:
        FlowError: there is none.
    """
    for folder in (root, *root.parents):
        if (folder / ".dvc").is_dir():
            return folder / ".dvc"
    raise FlowError(f"DVC in {root}: expected a DVC repository, found no folder .dvc.")


def read_settings(root: Path) -> Any:
    """DVC's settings of a repository, as its configuration files have them today.

    Raises:
        FlowError: there is no repository, or DVC cannot read them.
    """
    from dvc.config import Config, ConfigError

    folder = dvc_folder(root)
    try:
        return Config(str(folder))
    except ConfigError as error:
        raise FlowError(f"DVC in {root}: {' '.join(str(error).split())}") from error


def remote_settings(root: Path) -> dict[str, dict[str, object]]:
    """DVC's settings of its cache and of its default remote; for the errors see `read_settings`."""
    settings = read_settings(root)
    name = settings["core"].get("remote")
    found = {"cache": {key: value for key, value in settings["cache"].items() if key == "dir"}}
    if name:
        found |= {"core": {"remote": name}, "remote": {name: dict(settings["remote"][name])}}
    return found


def share_cache(root: Path, workspace: Path, site_cache: Path) -> None:
    """Let the DVC repository `workspace`, a copy, use the cache and the run-cache of `root`.

    What DVC remembers of the workspace's files goes to `site_cache`, so that it can be deleted with it.
    """
    with open_repository(root) as repo:
        cache = str(repo.cache.local_cache_dir)
    local = root / ".dvc" / "config.local"
    if local.exists():
        shutil.copy(local, workspace / ".dvc" / "config.local")
    with open_repository(workspace) as repo, repo.config.edit("local") as config:
        config.setdefault("cache", {})["dir"] = cache
        config.setdefault("core", {})["site_cache_dir"] = str(site_cache)
