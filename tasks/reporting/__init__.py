"""What the report shows, from the artifacts: which issues, which charts, which classes, made from what."""
