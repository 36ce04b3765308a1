"""Rows as tensors on the device that trains.

Importing this module imports torch.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.contents import Content, Features, Images
from tasks.tables.facts import DatasetFacts
from tasks.training.batches import Batch
from tasks.training.protocol import Rows, check_content
from tasks.training.statistics import portions

# A GPU keeps all rows if they take at most this share of its free memory; the training needs the rest.
_SHARE_OF_FREE = 0.25


class Positions(NamedTuple):
    """Which rows make a batch: (B,) int64 among the labelled rows, (U,) int64 among the unlabelled ones."""

    labeled: Tensor
    unlabeled: Tensor


BatchReader = Callable[[Positions], Batch]
"""Gives the batch of some positions, on the device that trains."""


def read_batches(
    rows: Rows, unlabeled: Content | None, facts: DatasetFacts, device: torch.device
) -> BatchReader:
    """A reader of batches of these rows. What it needs is on the device, but for content that has no room.

    It is a function, which `copy.deepcopy` does not copy, as callbacks that average weights would.
    """
    content_of = read_content(check_content(rows.content, facts), device)
    others_of = None if unlabeled is None else read_content(check_content(unlabeled, facts), device)
    label, weight = (torch.tensor(each, device=device) for each in (rows.label, rows.weight))
    soft_label = None if rows.soft_label is None else torch.tensor(rows.soft_label, device=device)
    one_hot = torch.eye(facts.n_classes, device=device)

    def read(positions: Positions) -> Batch:
        own, others = positions
        return Batch(
            content=content_of(own),
            label=label[own],
            soft_label=one_hot[label[own]] if soft_label is None else soft_label[own],
            weight=weight[own],
            rows=own,
            unlabeled=None if others_of is None or not len(others) else others_of(others),
            unlabeled_rows=others,
        )

    return read


def read_content(content: Images | Features, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function that gives the raw content (B, ...) of positions (B,), on the device.

    A CPU reads each batch from the content itself. Another device gets all rows at once, if it has room.
    """
    if has_room(content, device):
        parts = portions(content)
        held = torch.cat([to_tensor(content.take(part)).to(device) for part in parts])
        return lambda positions: held[positions]
    # All rows as positions, which `take` then need not count for each batch.
    every = content.take(slice(None))
    return lambda positions: to_tensor(every.take(positions.cpu().numpy())).to(device)


def has_room(content: Images | Features, device: torch.device) -> bool:
    """Whether a device other than the CPU has the memory for all rows, beside what training needs."""
    if device.type != "cuda" or not len(content):
        return False
    n_bytes = len(content) * int(np.prod(content.held.shape[1:])) * content.held.itemsize
    return n_bytes <= _SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]


def to_tensor(content: Images | Features) -> Tensor:
    """Pictures as (N, C, H, W) uint8, features as they are; a copy."""
    # `take` copies, so that torch never holds memory that it must not write to.
    tensor = torch.from_numpy(content.values())
    if isinstance(content, Features):
        return tensor
    return tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()
