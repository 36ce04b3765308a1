"""Lightning, imported without what it would import for metrics that nobody asks for here.

Its metrics are in torchmetrics, which imports SciPy's signals, Matplotlib and torchvision where they are
installed: a quarter of what importing torch and Lightning takes. It does without where they are not.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, DistributionFinder
from typing import Any

__all__ = ["MisconfigurationException", "pl"]


class _Without:
    """A finder of modules and distributions that does not see some packages."""

    def __init__(self, finder: Any, packages: set[str]) -> None:
        self._finder, self._packages = finder, packages

    def find_spec(self, name: str, *where: Any) -> Any:
        return None if name.partition(".")[0] in self._packages else self._finder.find_spec(name, *where)

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        find = getattr(self._finder, "find_distributions", None)
        return find(context) if find and context.name not in self._packages else []


@contextmanager
def _not_installed(*packages: str) -> Iterator[None]:
    """Within, imports go as where these packages are not installed; one that is imported stays so."""
    hidden = {package for package in packages if package not in sys.modules}
    sys.meta_path[:] = [_Without(finder, hidden) for finder in sys.meta_path]
    try:
        yield
    finally:
        # What was imported within may have brought a finder of its own, as six does.
        sys.meta_path[:] = [each._finder if isinstance(each, _Without) else each for each in sys.meta_path]


with _not_installed("matplotlib", "scipy", "torchvision"):
    import pytorch_lightning as pl
    from lightning_fabric.utilities.exceptions import MisconfigurationException
