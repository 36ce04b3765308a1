"""The mathematics of wrong labels, over NumPy arrays alone: no files, no models."""
