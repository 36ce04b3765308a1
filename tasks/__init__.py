"""The work of Relabel: one module per pipeline stage, and the libraries that the stages share.

Every error that a person can cause or mend is a `RelabelError`; its message is one readable paragraph
saying what was expected, what was found and what to do.

    RelabelError
    ├── ParamsError          params.yaml: an unknown, missing or out-of-range value
    ├── ArtifactError        a Parquet artifact: missing, unreadable, wrong column, type or rows
    ├── DatasetError         the source data: no source reachable, altered content, unusable rows
    │   └── UnreadableError  pictures that are none; says why, by their place
    ├── TrainingError        training cannot go on: loss not finite, class or row missing
    ├── RepairError          no label may be changed, and the run is to fail then
    ├── StorageError         a file cannot be written: no room, no permission, a read-only file system
    ├── WorkspaceError       a folder of its own for a data set cannot be made there
    ├── ExplainError         explain: no such row, or nothing is known of it yet
    ├── DamagedLockError     DVC's list of locks is damaged, and a DVC is at work
    ├── ReviewError          the review page: a request that it refuses
    └── FlowError            a flow, a sweep or a comparison cannot start or go on
        ├── StageError       a stage failed; the message is what it said
        ├── RevisionError    a version, or a file of it, cannot be had
        │   └── NothingBeforeError  check: the version to compare with has no results yet
        └── ServerLostError  the Prefect server of a run stopped answering
"""


class RelabelError(Exception):
    """Base of every error whose message is meant for the person at the terminal."""


class ParamsError(RelabelError):
    """A value in `params.yaml` is unknown, missing or out of range."""


class ArtifactError(RelabelError):
    """An artifact is missing, unreadable, or not what its schema says."""


class DatasetError(RelabelError):
    """The source data cannot be had, or is not what it should be."""


class TrainingError(RelabelError):
    """Training cannot go on."""


class RepairError(RelabelError):
    """No label may be changed on the evidence there is, and `pseudo_label.on_weak_model` is `stop`."""


class StorageError(RelabelError):
    """A file cannot be written."""


class WorkspaceError(RelabelError):
    """A folder of its own for a data set cannot be made where it is wanted."""
