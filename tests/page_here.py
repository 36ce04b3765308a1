"""The review page in a thread of the tests' own process: a process of its own takes a second to import."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import expect

from review.__main__ import _listen, _read_audit
from review.server import Review, create_app

# Five seconds are few where other work takes the machine; what comes is waited for no longer than it takes.
expect.set_options(timeout=30_000)


@contextmanager
def review_here(folder: Path, reviewer: str = "anna") -> Iterator[str]:
    """The address of the page of a workspace, as `python -m review` serves it, over HTTP.

    Tests that kill the page, or are about its command, start it by `benchmarks.review.review_page`.
    """
    review = Review(folder, reviewer, _read_audit(folder / "params.yaml"))
    with _listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(review, ("127.0.0.1",)), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
