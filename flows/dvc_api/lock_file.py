"""The order of dvc.lock, which stages that run side by side would upset."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flows.dvc_api.repository import open_repository


def lock_order(root: Path) -> list[str]:
    """The names in dvc.lock in its order, before this run or, if one was killed, before that.

    Kept in a file until `order_lock`.
    """
    path = _order_file(root)
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return [str(name) for name in json.loads(path.read_text())]
    found = _locked_stages(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return found


def order_lock(root: Path, before: Sequence[str], plan: Sequence[str]) -> None:
    """Order dvc.lock as `dvc repro` would have: known stages where they were, new ones in the order run.

    Stages that run side by side end in any order, and DVC appends a new stage when it ends.
    """
    from dvc.dvcfile import LOCK_FILE
    from dvc.utils.serialize import modify_yaml

    found = _locked_stages(root)
    new = set(found) - set(before)
    wanted = [name for name in before if name in set(found)]
    wanted += [name for name in plan if name in new]
    wanted += [name for name in found if name not in set(wanted)]
    if found != wanted:
        with open_repository(root) as repo, repo.lock, modify_yaml(root / LOCK_FILE) as content:
            stages = content["stages"]
            for name in wanted:
                stages[name] = stages.pop(name)
    _order_file(root).unlink(missing_ok=True)


def _order_file(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "relabel" / "lock_order.json"


def _locked_stages(root: Path) -> list[str]:
    from dvc.dvcfile import LOCK_FILE
    from dvc.utils.serialize import load_yaml

    path = root / LOCK_FILE
    return list((load_yaml(path) or {}).get("stages", {})) if path.exists() else []
