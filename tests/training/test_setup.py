"""What the two training stages share."""

import gc

import pytest

from tasks.training.setup import nothing_collected


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_looked_for_again_after_imports_that_fail(before: bool) -> None:
    assert gc.isenabled()
    try:
        if not before:
            gc.disable()
        with pytest.raises(ImportError, match="not enabled"), nothing_collected():
            raise ImportError("enabled" if gc.isenabled() else "not enabled")
        assert gc.isenabled() == before
    finally:
        gc.enable()
