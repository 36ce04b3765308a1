"""Soft pseudo-labels that are renewed each epoch, with what keeps a network from believing itself too much.

Arazo et al., "Pseudo-Labeling and Confirmation Bias in Deep Semi-Supervised Learning", IJCNN 2020: mixup, a
least number of labelled rows in each batch, and two terms of the loss. Each can be switched off.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Fraction, Section

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from tasks.training.batches import Batch, Network

USES_UNLABELED = True


class Options(Section):
    """`ratio` unlabelled rows, if they are more, come with each labelled one: its least share of a batch.

    `alpha` is of the shares of mixup (0: rows are not mixed). `balance` weighs the term that asks for each
    class as often as the labels have it, and `entropy` the one that asks for sure predictions (0: neither).
    Until the share `warm_up` of the training is done, labelled rows alone count. With `align`, which the
    paper has not, soft labels are scaled before they are learned, so that they say each class as often as
    the labels do: the term of the loss asks the network for that, and soft labels of the epoch before may
    ask for the opposite.
    """

    ratio: Annotated[int, Field(ge=1, le=64)] = 4
    alpha: Annotated[float, Field(ge=0, le=100)] = 4.0
    balance: Annotated[float, Field(ge=0, le=100)] = 0.8
    entropy: Annotated[float, Field(ge=0, le=100)] = 0.4
    warm_up: Fraction = 0.3
    align: bool = True


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """Equation 6: the loss of mixed rows with mixed labels, soft ones of unlabelled rows, and both terms."""
    import torch

    from tasks.training.batches import align, labelled_loss, remember

    own = network.change(batch.content, generator).float()
    if batch.unlabeled is None:
        return labelled_loss(network, batch, network(own))
    soft = renew(network, batch)
    predicted = remember(network.memory, "predicted", soft.mean(dim=0))
    if options.align:
        soft = align(network, batch, soft, predicted)
    if network.progress < options.warm_up:
        return labelled_loss(network, batch, network(own))
    content = torch.cat([own, network.change(batch.unlabeled, generator).float()])
    target = torch.cat([batch.soft_label, soft])
    weight = torch.cat([batch.weight, batch.weight.new_ones(len(soft))])
    share, partner = draw_partners(len(content), options.alpha, generator)
    partner = partner.to(content.device)
    logits = network(share * content + (1 - share) * content[partner])
    network.observe(batch, logits[: len(own)])
    mixed = share * network.row_losses(logits, target) * weight
    mixed = mixed + (1 - share) * network.row_losses(logits, target[partner]) * weight[partner]
    log_probs = logits.float().log_softmax(dim=1)
    mean = log_probs.exp().mean(dim=0)
    wanted = batch.soft_label.mean(dim=0)
    # Equations 4 and 5; 0 log 0 is 0.
    balance = (wanted * (wanted.clamp_min(1e-12).log() - mean.clamp_min(1e-12).log())).sum()
    entropy = -(log_probs.exp() * log_probs).sum(dim=1).mean()
    return mixed.sum() / weight.sum() + options.balance * balance + options.entropy * entropy


def renew(network: "Network", batch: "Batch") -> "Tensor":
    """(U, K) the soft labels of unlabelled rows from the epoch before; today's are kept for the next one.

    A row that is shown for the first time has today's.
    """
    assert batch.unlabeled is not None  # noqa: S101
    today = network.teach(batch.unlabeled).float().softmax(dim=1)
    if "soft" not in network.memory:
        network.memory["soft"] = today.new_full((network.n_unlabeled, today.shape[1]), float("nan"))
    kept = network.memory["soft"]
    before = kept[batch.unlabeled_rows]
    kept[batch.unlabeled_rows] = today
    return before.where(~before.isnan(), today)


def draw_partners(n_rows: int, alpha: float, generator: "Generator") -> "tuple[float, Tensor]":
    """The share of each row in its own mixture, at least a half, and (N,) the row that it is mixed with."""
    import numpy as np
    import torch

    if not alpha:
        return 1.0, torch.arange(n_rows)
    # torch draws from a Beta distribution with its global generator alone.
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    return max(share, 1 - share), torch.randperm(n_rows, generator=generator, device=generator.device)
