"""Labels flow along a graph of similar rows: to rows without a label, and to label issues.

Iscen et al., "Label Propagation for Deep Semi-Supervised Learning", CVPR 2019. Rows are alike where a student
that learned from the trusted rows embeds them alike and says the same of them. A model of frozen features, or
one that learns no embedding, embeds them by these, or as they are.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tasks import RepairError
from tasks.label_quality.propagation import UNLABELED, certainty, class_balance, propagate, similarity_graph
from tasks.label_quality.sure_rows import choose_sure, even_limits, expected_counts
from tasks.neighbours import describe_search, nearest
from tasks.repair import Evidence, Repair, Train, label_unlabeled, leave_as_given, relabel_issues
from tasks.sections import Fraction, Section
from tasks.training.protocol import Predictions

_REACHED = 1e-9
# Probabilities in single precision tell no more below it.
_LEAST_PROB = 1e-6


class Options(Section):
    """`k` neighbours make the graph, `gamma` is the exponent of their cosine, `alpha` how far labels flow.

    Rows without a label join that are at least `min_certainty` certain (1 less the normalised entropy); their
    weight is their certainty, balanced by class. At most the share `share` of them joins; with
    `class_balance`, no class gets more of them than its share among the labelled rows lets expect, and where
    few rows of a class are sure, none gets many more (`sure_rows.even_limits`).
    """

    k: Annotated[int, Field(ge=1, le=1000)] = 50
    gamma: Annotated[float, Field(gt=0, le=20)] = 3.0
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.99
    min_certainty: Fraction = 0.0
    share: Fraction = 1.0
    class_balance: bool = True


def repair(evidence: Evidence, options: Options, train: Train | None, rng: np.random.Generator) -> Repair:  # noqa: ARG001
    """Propagate the labels of rows that are no issue.

    An issue takes the propagated class where it is the class that the model suggests, and one of the two says
    that it is at least `evidence.min_confidence` probable: two kinds of evidence, one of them sure. Labels
    that flow far become even, so that the graph alone is seldom sure. All other issues are treated as
    `evidence.otherwise` says.

    Raises:
        RepairError: there is nothing to train on, or there are fewer rows than neighbours.
    """
    if train is None:
        raise RepairError(
            "pseudo_label.method: propagation needs embeddings of a student, and beside probabilities of "
            "your own there are no rows to train one on. Choose the method threshold."
        )
    rows = evidence.unlabeled
    ids = evidence.ids if rows is None else np.concatenate([evidence.ids, rows.ids])
    if len(ids) <= options.k:
        raise RepairError(
            f"pseudo_labels.propagation.k: expected fewer neighbours than the {len(ids)} rows, found "
            f"{options.k}. Lower it to {max(len(ids) - 1, 1)} or less."
        )
    n_labelled = len(evidence.ids)
    seeds = np.full(len(ids), UNLABELED)
    seeds[:n_labelled] = np.where(evidence.is_issue, UNLABELED, evidence.labels)
    gives = seeds != UNLABELED
    if not gives.any():
        return leave_as_given(evidence.labels, evidence.is_issue, evidence.n_classes)
    student = train(ids[gives], seeds[gives], ids)
    probs = flow(directions(student), seeds, evidence.n_classes, options)
    reached = probs[:n_labelled]
    agrees = reached.argmax(axis=1) == evidence.suggested
    surer = np.maximum(reached.max(axis=1), evidence.suggested_prob)
    made = relabel_issues(evidence, agrees & (surer >= evidence.min_confidence))
    if rows is None:
        return made
    labels, sure = probs[n_labelled:].argmax(axis=1), certainty(probs[n_labelled:])
    # A row that nothing reaches is not certain at all.
    least = max(options.min_certainty, _REACHED)
    limits = np.full(evidence.n_classes, len(labels))
    if options.class_balance:
        limits = expected_counts(evidence.labels, len(labels), evidence.n_classes, options.share)
        limits = even_limits(limits, np.bincount(labels[sure >= least], minlength=evidence.n_classes))
    chosen = choose_sure(labels, sure, least, limits, int(len(labels) * options.share))
    weight = np.ones(len(labels))
    weight[chosen] = sure[chosen] / sure.max()
    weight[chosen] *= class_balance(labels[chosen], evidence.n_classes)
    return replace(
        made, unlabeled=label_unlabeled(rows, evidence.n_classes, chosen, label=labels, weight=weight)
    )


def directions(student: Predictions) -> npt.NDArray[np.float32]:
    """(N, D + K) how a student embeds each of N rows, and what it says of it; both count alike.

    The embedding of a network is a mean over places, in which all rows look much alike; its logits look at
    the places too. Of each part the rows have length 1. Values of the embedding are standardised before, and
    logits are the centred logarithms of the probabilities. A row whose embedding is 0 stays 0.

    An embedding that no label made, such as frozen features, stays as it is, (N, D): what a head of few
    labels says of it knows less than the embedding does.
    """
    if not student.is_learned:
        return student.embedding
    values = student.embedding - student.embedding.mean(axis=0)
    values /= np.maximum(student.embedding.std(axis=0), _REACHED)
    logits = np.log(np.maximum(student.pred_probs, _LEAST_PROB))
    logits -= logits.mean(axis=1, keepdims=True)
    parts = [
        part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), _REACHED) for part in (values, logits)
    ]
    found = np.concatenate(parts, axis=1).astype(np.float32)
    found[~student.embedding.any(axis=1)] = 0
    return found


def flow(
    embedding: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], n_classes: int, options: Options
) -> npt.NDArray[np.float64]:
    """(N, K) what flows from rows that give a label to all N rows of an embedding (N, D).

    Rows of zeros, which have no direction, are in no one's neighbourhood, and nothing reaches them.
    """
    probs = np.full((len(labels), n_classes), 1 / n_classes)
    there = np.flatnonzero(embedding.any(axis=1))
    k = min(options.k, len(there) - 1)
    if k < 1 or (labels[there] == UNLABELED).all():
        return probs
    if search := describe_search(len(there)):
        print(f"propagation: {search}")
    found = nearest(embedding[there], k, metric="cosine")
    graph = similarity_graph(found.index, 1 - found.distance, options.gamma)
    probs[there] = propagate(graph, labels[there], n_classes, options.alpha)
    return probs
