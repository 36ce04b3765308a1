"""Sphinx: the manual, from the pages in this folder and the reference that `generate` takes from the code."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from generate import write_reference  # noqa: E402  # found by the line above

project = "Relabel"
author = "The authors of Relabel"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Relabel"
# No fonts, scripts or icons from elsewhere.
html_theme_options = {"footer_icons": []}
myst_heading_anchors = 3
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)"]
linkcheck_timeout = 20
linkcheck_retries = 2
suppress_warnings = ["toc.not_included"]

write_reference(DOCS / "reference")
