"""A plug-in of each kind, as a person adds them to a checkout."""

from small_runs import ROOT

DATASET = '''"""Two clouds of points."""

import numpy as np

from tasks.contents import Examples, Features
from tasks.tables.facts import DatasetFacts

GIVES = ("features",)


def read(inputs, options, fetch):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 2
    points = rng.normal(size=(240, 3)) + 3 * labels[:, None]
    return Examples(
        facts=DatasetFacts("clouds", ("low", "high"), "features", (3,)),
        key=[f"point {row}" for row in range(240)],
        split=np.where(np.arange(240) < 200, "train", "test"),
        given_label=None,
        true_label=labels.astype(np.int16),
        content=Features(points.astype(np.float32)),
    )
'''
MODEL = (ROOT / "tasks" / "models" / "mlp.py").read_text().replace('"mlp"', '"mine"').replace("256", "16")
OBJECTIVE = (ROOT / "tasks" / "objectives" / "supervised.py").read_text()
METHOD = '''"""Issues are dropped, whatever is suggested."""

import numpy as np

from tasks.repair import leave_as_given


def repair(evidence, options, train, rng):
    repair = leave_as_given(evidence.labels, evidence.is_issue, evidence.n_classes)
    return repair.with_hard(
        evidence.is_issue,
        weight=np.where(evidence.is_issue, 0, 1).astype(np.float32),
        action=np.where(evidence.is_issue, "dropped", "trusted"),
    )
'''
FILTER = '''"""Rows whose given class is not the more probable of the two."""

from tasks.label_quality.selection import ByRow


def select(statistics):
    return ByRow(lambda rows: rows.own < 0.5)
'''
