"""`python -m review`: the review page, for a browser on this machine."""

import argparse
import ipaddress
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from review.server import Review, create_app
from tasks import RelabelError
from tasks.decisions.log import PATH
from tasks.decisions.provenance import default_reviewer
from tasks.params import Audit, load_params


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m review", description="Look at the most suspect labels and decide, in a browser."
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: 8765)")
    parser.add_argument("--reviewer", help="name beside your decisions (default: git's user.name)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name browsers may call this by"
    )
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    chosen = parser.parse_args(arguments)
    if not 0 <= chosen.port < 2**16:
        parser.error(f"--port: expected a number from 0 to 65535, found {chosen.port}")
    root = Path.cwd()
    reviewer = " ".join((chosen.reviewer or default_reviewer(root)).split())
    if not reviewer.isprintable() or not reviewer:
        parser.error(f"--reviewer: expected a name, found {chosen.reviewer!r}")
    try:
        review = Review(root, reviewer, _read_audit(root / "params.yaml"))
        listener = _listen(chosen.host, chosen.port)
    except RelabelError as error:
        print(f"review: {error}", file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    print(f"Review page: {url} (decisions of {reviewer} go to {PATH}; Ctrl-C ends it)", flush=True)
    if not ipaddress.ip_address(host).is_loopback:
        print(
            "Whoever reaches this address can decide, and as this reviewer: there is no password.",
            file=sys.stderr,
        )
    if not chosen.no_browser:
        webbrowser.open(url)
    names = tuple(name.lower() for name in (*chosen.allow_host, chosen.host))
    config = uvicorn.Config(create_app(review, names), log_level="warning", access_log=False)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
    return 0


def _read_audit(path: Path) -> Audit:
    """What `params.yaml` says of rows that are drawn at random; without that file none are shown."""
    return load_params(path).pseudo_label.audit if path.exists() else Audit(share=0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # From here on, a browser that asks early waits for its answer.
            listener.listen()
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise RelabelError(
            f"--host {host} --port {port}: expected an address to listen on ({error}). If another page is "
            "open there, choose another --port, or 0 for a free one."
        ) from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
