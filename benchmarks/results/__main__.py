"""`python -m benchmarks.results [TABLE ...] [--again]`: measure, print, and write into docs/results.md."""

import argparse
import importlib
import json
import sys

from benchmarks.results.page import origin, write_table
from benchmarks.results.runs import FOLDER
from tasks.tables.files import write_json

TABLES = ("imagenette", "tweets", "coreset", "mnist", "article", "doubt")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; all by default")
    parser.add_argument("--again", action="store_true", help="write the tables from what was measured before")
    chosen = parser.parse_args()
    if unknown := set(chosen.tables) - set(TABLES):
        parser.error(f"expected tables of {', '.join(TABLES)}, found {', '.join(sorted(unknown))}")
    for name in chosen.tables or TABLES:
        module = importlib.import_module(f"benchmarks.results.{name}")
        kept = FOLDER / f"{name}.json"
        if not chosen.again:
            write_json(kept, {**origin(name), **module.measure()})
        lines = module.describe(json.loads(kept.read_text("utf-8")))
        write_table(name, lines)
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
