"""The wiring: Prefect appears here and nowhere else."""
