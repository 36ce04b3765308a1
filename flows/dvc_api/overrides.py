"""Changes of params.yaml as `dvc exp run -S` takes them, and grids of them."""

from collections.abc import Sequence
from pathlib import Path

from flows import FlowError


def override_params(root: Path, overrides: Sequence[str], option: str = "--set") -> None:
    """Change params.yaml as `dvc exp run -S` does: `train_fold.epochs=2`.

    Args:
        root: of the DVC repository.
        overrides: the changes.
        option: what they came from, for the message.

    Raises:
        FlowError: an override is malformed or its value refused; params.yaml stays as it was.
    """
    from dvc.utils.hydra import apply_overrides

    from tasks import RelabelError
    from tasks.params import load_params

    path = root / "params.yaml"
    before = path.read_bytes()
    try:
        apply_overrides(path, list(overrides))
        # DVC needs the section of each chosen plug-in, even if it is empty.
        unlisted = load_params(path).unlisted()
        if unlisted:
            apply_overrides(path, [f"+{name}={{}}" for name in unlisted])
    except RelabelError:
        path.write_bytes(before)
        raise
    except Exception as error:  # Hydra, OmegaConf and ruamel have errors of their own
        path.write_bytes(before)
        raise FlowError(
            f"{option}: expected SECTION.NAME=VALUE for values of params.yaml, found {' '.join(overrides)} "
            f"({str(error.__cause__ or error).splitlines()[0].rstrip('.')})."
        ) from error


def grid_values(grid: str) -> tuple[str, list[str]]:
    """The name and the overrides of one `--grid`, in the syntax of `dvc exp run -S` with several values.

    `inject_noise.rate=0.1,0.2` gives the name and `inject_noise.rate=0.1`, `inject_noise.rate=0.2`; lists
    (`[0,1],[0,1,2]`), `choice(...)` and `range(...)` are Hydra's.

    Raises:
        FlowError: it does not parse.
    """
    from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides

    try:
        (override,) = to_hydra_overrides([grid])
        overrides = [point["params.yaml"][0] for point in get_hydra_sweeps({"params.yaml": [grid]})]
        name = str(override.key_or_group)
        # Hydra's syntax can also add and delete names, but a grid varies names that params.yaml has.
        if not name or not overrides or not grid.startswith(f"{name}=") or grid == f"{name}=":
            raise ValueError("not a name and its values")
    except Exception as error:  # Hydra has errors of its own
        raise FlowError(
            f"--grid: expected SECTION.NAME=VALUE,VALUE,..., found {grid!r} ({str(error).splitlines()[0]})."
        ) from error
    return name, overrides
