"""Filters: which rows are label issues. Each file is one filter, under its name; `_names.py` are none.

Its first line says which rows it flags, and its `select` how they are found, from what is known of all rows.
docs/label_quality.md shows how to write one; `issues.Filter` lists what else a file may say.
"""
