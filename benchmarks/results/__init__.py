"""`make results`: the tables of docs/results.md, one file a table.

Each has `measure() -> dict`, which runs the pipeline in workspaces in `.cache/results` and gives plain
values, and `describe(found) -> list[str]`, which makes Markdown of them. The values are kept as
JSON beside the workspaces, so that a table can be written again without the run.
"""
