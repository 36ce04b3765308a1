"""Limits of params.yaml against what a version holds: `relabel check`."""
