"""dvc.lock: its order, which stages that run side by side would upset, and one that was cut short."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flows.dvc_api.repository import open_repository

# DVC writes dvc.lock in place, in some hundredths of a second.
_LOOKS, _STEP_SECONDS = 10, 0.1


def mend_lock_file(root: Path) -> str | None:
    """Put away a dvc.lock that does not load: one of a full disk, or of a DVC that was killed as it wrote.

    What ran is then restored from DVC's run-cache. A file that git could not merge is left to its owner.

    Returns:
        A sentence on what was done, if anything was.
    """
    path = root / "dvc.lock"
    for look in range(_LOOKS):
        if _is_whole(path):
            return None
        time.sleep(_STEP_SECONDS * (look + 1 < _LOOKS))
    kept = _order_file(root).with_name("dvc.lock.damaged")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.replace(kept)
    except OSError:  # a full disk, or no permission: DVC says what it cannot do
        return None
    return (
        "dvc.lock was damaged, as a full disk or a DVC that is killed while it writes leaves it. It lies in "
        f"{kept.relative_to(root)} now; what ran is restored from DVC's cache."
    )


def _is_whole(path: Path) -> bool:
    """Whether DVC can load it, or it is not for us to mend: none, unreadable, of another DVC, or unmerged."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    try:
        content = path.read_bytes()
    except OSError:
        return True
    try:
        found = YAML(typ="safe").load(content)
        # Of another version it may be whole.
        if isinstance(found, dict) and "schema" in found and found["schema"] != "2.0":
            return True
        COMPILED_LOCKFILE_SCHEMA(found)
    except (YAMLError, Invalid, UnicodeDecodeError):
        return any(line.startswith(b"<<<<<<< ") for line in content.splitlines())
    return True


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
