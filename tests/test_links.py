"""Links of the manual: to pages beside it they lead somewhere, to the network they are well-formed.

`make docs` checks those between pages, `make links` whether the network still answers.
"""

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from small_runs import ROOT

REFERENCE = ROOT / "docs" / "reference"
"""Made from the code with the manual: a fresh checkout lacks it."""
PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if "_build" not in page.parts and page.parent != REFERENCE
]


def external_links(markdown: str) -> list[str]:
    """The links to the network; code is left aside."""
    text = re.sub(r"```.*?```|`[^`\n]*`", " ", markdown, flags=re.DOTALL)
    return [found.rstrip(".,;:") for found in re.findall(r"https?:[^\s)>\]\"]*", text)]


def is_well_formed(link: str) -> bool:
    try:
        parts = urlsplit(link)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme == "http":  # of this machine alone
        return host == "localhost" or (host.replace(".", "").isdigit() and ip_address(host).is_loopback)
    return re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host) is not None and "//" not in parts.path


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://dvc.org/doc/start#a", True),
        ("http://127.0.0.1:8765", True),
        ("http://dvc.org", False),
        ("https:/dvc.org", False),
        ("https://dvc", False),
        ("https://dvc.org:port/", False),
        ("https://dvc.org//doc", False),
        ("https://", False),
    ],
)
def test_what_a_well_formed_link_is(link: str, expected: bool) -> None:
    assert is_well_formed(link) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_are_well_formed_and_lead_to_files_that_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [link for link in external_links(text) if not is_well_formed(link)] == []
    targets = re.findall(
        r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    )
    places = {target: (page.parent / target).resolve() for target in targets}
    made = {REFERENCE / f"{name}.md" for name in ("parameters", "tables", "commands")}
    assert [target for target, place in places.items() if place not in made and not place.exists()] == []
