"""Mixup: training on weighted sums of two rows.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Section

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from tasks.training.batches import Batch, Network


class Options(Section):
    """`alpha` is both parameters of the Beta distribution of a share: near 0 hardly mixes, 1 mixes evenly."""

    alpha: Annotated[float, Field(gt=0, le=100)] = 0.2


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """The weighted mean loss of mixed rows, s x_i + (1 - s) x_j with s drawn from Beta(alpha, alpha).

    One share s is drawn a batch, and each row's partner j is another row of the batch (section 2). The larger
    of s and 1 - s goes to the row itself. This draws the same pairs and shares, and a mixed row remains most
    like the row whose learning curve and signals it counts for.
    """
    import numpy as np
    import torch

    # torch draws from a Beta distribution with its global generator alone.
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    share = float(np.random.default_rng(seed).beta(options.alpha, options.alpha))
    share = max(share, 1 - share)
    partner = torch.randperm(len(batch.content), generator=generator, device=generator.device)
    partner = partner.to(batch.content.device)

    content = network.change(batch.content, generator).float()
    logits = network(share * content + (1 - share) * content[partner])
    network.observe(batch, logits)
    own = network.row_losses(logits, batch.soft_label) * batch.weight
    others = network.row_losses(logits, batch.soft_label[partner]) * batch.weight[partner]
    # Each row's weight counts once for itself and once as a partner: all weights sum to those of the batch.
    return (share * own + (1 - share) * others).sum() / batch.weight.sum()
