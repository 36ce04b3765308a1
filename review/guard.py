"""Who may ask the server of the review page, and what its page may do."""

import base64
import hashlib
import ipaddress
import re
from urllib.parse import urlsplit

from fastapi import Request

# Of a request: 500 ids, and as many names of decisions that an undo is of.
_MOST_BYTES = 2**20


def refusal_of(request: Request, host_names: tuple[str, ...]) -> str:
    """Why a request is not from this page; empty where it is.

    A site that a reviewer visits elsewhere may point its own name at this machine (DNS rebinding), or send
    forms here; it can neither change the Host that the browser sends nor send JSON unasked.
    """
    host = request.headers.get("host", "")
    name = re.sub(r":[0-9]+$", "", host).strip("[]").lower()
    if name != "localhost" and name not in host_names and not _is_address(name):
        return f"This page is not served as {name!r}. Name it with --allow-host if it should be."
    if request.method in ("GET", "HEAD"):
        return ""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return "Expected JSON."
    origin = request.headers.get("origin")
    if origin is not None and _place_of(origin) not in {host.lower(), *host_names} - {""}:
        return f"This request came from {origin}, not from this page."
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "This request came from another site."
    return ""


def size_refusal_of(request: Request) -> str:
    """Why a body is not read; empty where it is. The server reads no more of a body than its length says."""
    if request.method in ("GET", "HEAD"):
        return ""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length[:20]) > _MOST_BYTES:
        most = f"{_MOST_BYTES // 1024} KB"
        return f"Expected a body of at most {most} and its length, found {length[:20] or 'none'}."
    return ""


def _place_of(origin: str) -> str:
    """Name and port of an origin. The scheme is left out: before a proxy that ends TLS it is another."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def policy_of(page: str) -> str:
    """A content security policy that admits the page's own scripts and styles, and pictures as data."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src 'self' {hashes('script')}; style-src 'self' {hashes('style')}; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
