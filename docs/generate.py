"""The reference of the manual: parameters, tables and commands, as the code has them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.relabel import COMMANDS
from tasks.tables import catalog
from tasks.tables.schemas import Artifact

ROOT = Path(__file__).resolve().parents[1]


def write_reference(folder: Path) -> None:
    """Write parameters.md, tables.md and commands.md."""
    folder.mkdir(exist_ok=True)
    for name, lines in {
        "parameters": describe_parameters(),
        "tables": describe_tables(),
        "commands": describe_commands(),
    }.items():
        (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe_parameters() -> Iterator[str]:
    """params.yaml, whose comments explain each value."""
    yield from ("# All parameters", "", "`params.yaml` as it is shipped:", "", "```yaml")
    yield (ROOT / "params.yaml").read_text("utf-8").rstrip()
    yield "```"


def describe_tables() -> Iterator[str]:
    """Each table of the catalog: its path, the stage that writes it, its columns."""
    yield from ("# All tables", "", "Parquet files, joined by `example_id`, each written by one stage.")
    tables = [each for each in vars(catalog).values() if isinstance(each, Artifact)]
    for table in tables:
        yield from ("", f"## {table.path}", "", f"Written by `{table.stage}`.", "")
        yield from ("| column | type | |", "| --- | --- | --- |")
        for column in table.columns:
            notes = [
                note
                for note, holds in (("may be null", column.nullable), ("may be absent", column.optional))
                if holds
            ]
            yield f"| `{column.name}` | {column.type} | {', '.join(notes)} |"


def describe_commands() -> Iterator[str]:
    """What each command says of itself."""
    yield from (
        "# All commands",
        "",
        "`relabel COMMAND` runs these in the nearest folder above with a dvc.yaml.",
    )
    for name, command in COMMANDS.items():
        module = command.module.split()
        yield from ("", f"## relabel {name}", "", f"{command.does[0].upper()}{command.does[1:]}.")
        if module[0] == "dvc":
            yield from ("", f"Runs `{command.module}`; see DVC's own manual.")
            continue
        found = subprocess.run(
            [sys.executable, "-m", *module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        yield from ("", "```text", found.stdout.rstrip(), "```")
