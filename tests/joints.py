"""The confident joint of a data set in memory, by the steps that `prune` takes batch by batch."""

import numpy as np

from tasks.label_quality.confident_joint import (
    calibrate_joint,
    confident_classes,
    confident_thresholds,
    count_confident,
    raw_confident_joint,
)


def estimate_joint(labels, pred_probs):
    """The raw and the calibrated joint, (K, K) counts, and the confident class of each row, -1 for none."""
    n_classes = pred_probs.shape[1]
    confident = confident_classes(pred_probs, confident_thresholds(labels, pred_probs))
    raw = raw_confident_joint(count_confident(labels, confident, n_classes))
    return raw, calibrate_joint(raw, np.bincount(labels, minlength=n_classes)), confident
