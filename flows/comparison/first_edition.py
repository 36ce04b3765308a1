"""Parameters of the first edition by their names of today, so that versions of both can be compared."""

from collections.abc import Mapping

_OF_MODEL = ("max_lr", "muon_lr", "weight_decay", "shift", "eval_shift")


def rename_parameters(params: Mapping[str, object]) -> dict[str, object]:
    """Flat parameters (`section.name`) under today's names; those of this edition are left as they are."""
    if "train_fold.network" not in params:
        return dict(params)
    network = params["train_fold.network"]
    names = {
        "train_fold.network": "train_fold.model",
        "download.class_names": "datasets.parquet.class_names",
        **{f"train_fold.{name}": f"models.{network}.{name}" for name in _OF_MODEL},
    }
    found = {names.get(name, name): value for name, value in params.items()}
    # `train_fold.folds` says as much.
    found.pop("assign_folds.n_splits", None)
    pooled = found.pop("download.pool_test", None)
    return found if pooled is None else found | {"download.pool": ["test"] if pooled else []}
