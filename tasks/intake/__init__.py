"""`python -m tasks init PATH`: what lies there is looked at, explained, brought to inputs/ and made a run."""
