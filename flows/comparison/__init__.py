"""Versions of the pipeline beside each other: parameters, metrics, and the labels row by row."""
