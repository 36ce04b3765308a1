"""The numbers of metrics/*.json by names that say what they are."""

import re
from collections.abc import Callable

_AGAINST = {"given": "against the given labels", "true": "against the true labels"}
_TRAINED = {"given": "the given labels", "cleaned": "the cleaned labels", "true": "the true labels"}
_MEASURES = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "expected_calibration_error": "calibration error",
}
_DECISIONS = {
    "keep": "the given label is right",
    "accept": "the suggested label is right",
    "choose": "another label is right",
    "drop": "not to be trained on",
    "unsure": "not sure",
}
_NAMES = {
    "label_issues: n_rows": "rows judged",
    "label_issues: n_issues": "labels flagged",
    "label_issues: n_errors": "wrong labels, known",
    "label_issues: n_errors_estimated": "wrong labels, estimated",
    "label_issues: n_errors_low": "wrong labels, low end of the estimate",
    "label_issues: n_errors_high": "wrong labels, high end of the estimate",
    "label_issues: n_contradicting": "labels that contradict a copy's",
    "label_issues: precision": "precision of the flags",
    "label_issues: recall": "recall of the flags",
    "label_issues: f1": "F1 of the flags",
    "label_issues: average_precision": "average precision of the ranking",
    "label_issues: auroc": "AUROC of the ranking",
    "health: label_health": "health of the labels",
    "training_set: n_rows_before": "rows before the repair",
    "training_set: n_rows_after": "rows after the repair",
    "training_set: label_accuracy.before": "right labels before the repair",
    "training_set: label_accuracy.after": "right labels after the repair",
    "training_set: label_accuracy.of_pseudo_labels": "right labels among those changed",
    "training_set: gate.agreement": "agreement of model and given labels (kappa)",
    "training_set: gate.changed_share": "share of rows that would change",
    "cross_validation: n_rows": "rows predicted out of fold",
    "report: gain": "worth of the repair, in accuracy",
    "report: gain_low": "worth of the repair, low end",
    "report: gain_high": "worth of the repair, high end",
    "report: gap": "what true labels would be worth",
    "report: gap_recovered": "share of that which the repair gives",
    "report: audit.n_flags_decided": "flagged labels that people decided",
    "report: audit.flags_precision": "wrong labels among these, share",
    "report: audit.n_drawn": "unflagged labels drawn at random and decided",
    "report: audit.n_drawn_wrong": "wrong labels among these",
    "report: audit.n_left": "unflagged labels that nobody decided",
    "report: audit.wrong_left_low": "share of wrong labels left, low end",
    "report: audit.wrong_left_high": "share of wrong labels left, high end",
}
_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"cross_validation: (given|true)\.(\w+)"),
        lambda of: f"out-of-fold {_measure(of[2])} {_AGAINST[of[1]]}",
    ),
    (
        re.compile(r"retrain_(given|cleaned|true): test\.(\w+)"),
        lambda of: f"test {_measure(of[2])}, trained on {_TRAINED[of[1]]}",
    ),
    (
        re.compile(r"retrain_(given|cleaned|true): n_rows"),
        lambda of: f"rows trained on with {_TRAINED[of[1]]}",
    ),
    (re.compile(r"retrain_(given|cleaned|true): n_test_rows"), lambda of: f"test rows of {_TRAINED[of[1]]}"),
    (re.compile(r"training_set: actions\.(\w+)"), lambda of: f"rows {of[1]}"),
    (
        re.compile(r"training_set: decisions\.(\w+)"),
        lambda of: f"decisions: {_DECISIONS.get(of[1], _plain(of[1]))}",
    ),
    (re.compile(r"health: noise_matrix_l1_error\.(\w+)"), lambda of: f"error of the noise matrix by {of[1]}"),
    (re.compile(r"health: classes\.(.+)\.(\w+)"), lambda of: f"class {of[1]}: {_plain(of[2])}"),
    (
        re.compile(r"health: (overlapping|confused)\.(.+)\.(\w+)"),
        lambda of: f"{of[1]} {of[2]}: {_plain(of[3])}",
    ),
)


def in_words(name: str) -> str:
    """What `FILE: KEY` of a metric is called: `retrain_cleaned: test.accuracy` is a test accuracy."""
    if name in _NAMES:
        return _NAMES[name]
    for pattern, say in _PATTERNS:
        if found := pattern.fullmatch(name):
            return say(found)
    file, _, key = name.partition(": ")
    return f"{_plain(file)}: {_plain(key)}"


def _measure(name: str) -> str:
    return _MEASURES.get(name, _plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[._]+", " ", name)
