"""Engines: with `--engine dask` or `ray`, what dvc.yaml fans out does its work on the workers of a cluster.

DVC stays with the flow: its locks hold on one machine alone. The flow's `dvc repro --single-item` runs
`python -m tasks` as ever; that finds at RELABEL_STAGE_SERVER the bridge rather than a stage server.
The bridge submits a Prefect task through Prefect's own task runner, the worker runs the stage in a stage
server of its own (`tasks.stage_server`) in the same folder, and its lines come back through a file there.

The flow and the workers share the workspace's file system, and there, for each run, one folder:

    lease           the flow writes it anew each second; workers end all they run when it stays or goes
    STAGE-N.ticket  leave to run a stage; the flow takes it back to end the stage
    STAGE-N.running a worker has made it its own; it goes when nothing of the stage runs any more
    STAGE-N.log     what the stage prints
"""
