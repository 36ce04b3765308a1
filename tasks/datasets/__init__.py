"""Data sets, a file each: `read(inputs, options, fetch) -> Examples`; see tasks/contents.py."""
