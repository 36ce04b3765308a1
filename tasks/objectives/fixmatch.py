"""Sure classes of hardly changed rows are the targets of the same rows, strongly changed.

Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020.
The teacher has averaged weights, and so has what predicts.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Fraction
from tasks.training.strong_changes import StrongChanges

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from tasks.training.batches import Batch, Network

USES_UNLABELED = True
REPLAYABLE = True


class Options(StrongChanges):
    """`ratio` rows of the kind that has more come with each row of the other (labelled, unlabelled).

    They count, `weight` times, where the teacher gives a class the probability `min_confidence` at least;
    beside smoothed labels, that share of what they say of their own class. `decay` is of the averaged
    weights. With `align`, what the teacher says is scaled so that it says each class as often as the labels
    do (Berthelot et al., "ReMixMatch", ICLR 2020, section 3.1): a guard against the drift to one class, and
    wrong where unlabelled rows are of other classes than labelled ones. With `class_cuts`, the cut of a class
    that is seldom predicted is lower (Wang et al., "FreeMatch", ICLR 2023, equation 8). The rest says how far
    rows are changed; see `StrongChanges`.
    """

    ratio: Annotated[int, Field(ge=1, le=64)] = 4
    weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    min_confidence: Fraction = 0.9
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    align: bool = True
    class_cuts: bool = False


def average_decay(options: Options) -> float:
    """See `tasks.training.batches`."""
    return options.decay


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """Equations 3 and 4: the loss of labelled rows, and of the others with the teacher's sure classes."""
    import torch
    from torch.nn import functional

    from tasks.training.batches import align, labelled_loss, remember
    from tasks.training.changes import change_strongly

    content = network.change(batch.content, generator)
    if batch.unlabeled is None:
        return labelled_loss(network, batch, network(content))
    probs = network.teach(network.change(batch.unlabeled, generator)).float().softmax(dim=1)
    predicted = remember(network.memory, "predicted", probs.mean(dim=0))
    if options.align:
        probs = align(network, batch, probs, predicted)
    sureness, target = probs.max(dim=1)
    cut = torch.full_like(predicted, options.min_confidence * network.label_prob)
    if options.class_cuts:
        cut = cut * predicted / predicted.max()
    is_sure = (sureness >= cut[target]).float()
    logits = network(torch.cat([content.float(), change_strongly(batch.unlabeled, generator, options)]))
    own, of_others = logits[: len(content)], logits[len(content) :]
    unlike = functional.cross_entropy(of_others.float(), target, reduction="none")
    return labelled_loss(network, batch, own) + options.weight * (unlike * is_sure).mean()
