"""Repositories whose versions are made by hand, for tests of what reads old versions."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.tables.io import tensor_column

AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = ["git", *AUTHOR, *arguments]
    env = {**os.environ, **(environment or {})}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


def keep(folder: Path, name: str) -> None:
    """Keep the workspace as a commit with a tag."""
    git(folder, "add", "dvc.lock", "params.yaml", "metrics")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", name)
    git(folder, "tag", name)


def commit(folder: Path, name: str, **files: Any) -> None:
    """Write files, `a__b_c` as a/b.c, and keep them all as a commit with a tag."""
    for file, content in files.items():
        head, _, extension = file.replace("__", "/").rpartition("_")
        path = folder / f"{head}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))  # JSON is YAML
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", name)
    git(folder, "tag", name)


def make_repository(folder: Path) -> Path:
    """A DVC repository without a version, to be filled by hand."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").touch()
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    git(folder, "init", "--quiet")
    return folder


def entry(path: str, content: str, **more: Any) -> dict[str, Any]:
    """What dvc.lock says of a file."""
    return {"path": path, "hash": "md5", "md5": hashlib.md5(content.encode()).hexdigest(), **more}


def keep_tables(folder: Path, name: str, tables: dict[str, pa.Table], **options: Any) -> None:
    """Keep tables as a commit with a tag, their bytes in DVC's cache; `options` are those of the writer."""
    outs = []
    for path, table in tables.items():
        pq.write_table(table, folder / "written", **options)
        digest = hashlib.md5((folder / "written").read_bytes()).hexdigest()
        cached = folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        (folder / "written").rename(cached)
        outs.append({"path": path, "hash": "md5", "md5": digest})
    stage = {"cmd": "x", "outs": list(tables)}
    commit(
        folder,
        name,
        dvc_yaml={"stages": {"all": stage}},
        dvc_lock={"schema": "2.0", "stages": {"all": stage | {"outs": outs}}},
    )


def judged(ids: Any, probs: Any, flagged: Any = ()) -> dict[str, pa.Table]:
    """The tables of a version of rows of class a, of which some are flagged."""
    n_rows = len(ids)
    names = [chr(ord("a") + k) for k in range(probs.shape[1])]
    facts = {"dataset": "mine", "class_names": names, "content": "features", "shape": []}
    issues = {name: np.zeros(n_rows, dtype=np.int16) for name in ("given_label", "suggested_label")}
    issues |= {name: np.full(n_rows, 0.5) for name in ("suggested_prob", "self_confidence")}
    tables = {
        "label_issues": issues | {"is_issue": np.isin(ids, flagged)},
        "pred_probs": {"pred_probs": tensor_column(probs.astype(np.float32))},
    }
    metadata = {"relabel": json.dumps(facts)}
    return {
        f"data/{name}.parquet": pa.table({"example_id": ids, **columns}, metadata=metadata)
        for name, columns in tables.items()
    }
