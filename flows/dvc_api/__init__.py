"""All that knows DVC's insides: the graph, runs, versions, remotes, and the files that DVC keeps.

`Repo.index.graph`, `Stage.changed`, `plan_repro` and dvc.lock's layout are not documented API; they are used
here alone. The list of locks, which the review page reads too, is in `tasks.dvc_lock`.
"""
