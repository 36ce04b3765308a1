"""Strong random changes of rows, by whole batches on the device that trains.

Importing this module imports torch.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from tasks import DatasetError
from tasks.training.strong_changes import StrongChanges

# So many pixels apart are the points of a picture that are moved at random where it is bent.
_BEND_PIXELS = 9


def change_strongly(content: Tensor, generator: torch.Generator, how: StrongChanges) -> Tensor:
    """Raw content (N, C, H, W) uint8 or (N, d) float32, each row changed at random; float32.

    Raises:
        DatasetError: the rows are neither pictures nor vectors of numbers.
    """
    if content.ndim == 4:
        return cut_out(move_pictures(content.float(), generator, how), generator, how.cutout)
    if content.ndim == 2 and content.is_floating_point():
        return swap_values(content, generator, how.swap)
    raise DatasetError(
        "This training objective changes pictures and vectors of numbers at random, found rows that are "
        "neither, such as texts. Choose an objective without such changes (docs/pseudo_labels.md)."
    )


def move_pictures(images: Tensor, generator: torch.Generator, how: StrongChanges) -> Tensor:
    """Turn, scale, slant, move and bend each picture (N, C, H, W); what comes in at the edges is 0."""
    n, _, height, width = images.shape

    def drawn(reach: float, *shape: int) -> Tensor:
        return (2 * torch.rand(n, *shape, generator=generator, device=generator.device) - 1) * reach

    turn, scale, slant = drawn(math.radians(how.degrees)), 1 + drawn(how.scale), drawn(how.shear)
    right, down = drawn(how.shift) * 2 / width, drawn(how.shift) * 2 / height
    # Coordinates run from -1 to 1 along both sides, so a turn of pixels depends on how the sides compare.
    cos, sin = turn.cos() / scale, turn.sin() / scale
    above = (cos, (slant * cos - sin) * height / width, right)
    below = (sin * width / height, cos + slant * sin, down)
    matrix = torch.stack(above + below, dim=1).view(n, 2, 3).to(images.device)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    if how.elastic:
        knots = [max(round(side / _BEND_PIXELS), 1) + 1 for side in (height, width)]
        bend = functional.interpolate(
            drawn(how.elastic, 2, *knots).to(images.device),
            size=(height, width),
            mode="bicubic",
            align_corners=True,
        )
        grid = grid + torch.stack((bend[:, 0] * (2 / width), bend[:, 1] * (2 / height)), dim=-1)
    return functional.grid_sample(images, grid, align_corners=False)


def cut_out(images: Tensor, generator: torch.Generator, size: int) -> Tensor:
    """Set a square of `size` pixels to 0 at a random place of each picture (N, C, H, W)."""
    n, _, height, width = images.shape
    top, left = (
        torch.randint(max(side - size, 0) + 1, (n, 1), generator=generator, device=generator.device)
        for side in (height, width)
    )
    y, x = (torch.arange(side, device=generator.device)[None] for side in (height, width))
    rows, columns = (y >= top) & (y < top + size), (x >= left) & (x < left + size)
    is_cut = (rows[:, :, None] & columns[:, None, :])[:, None].to(images.device)
    return images.masked_fill(is_cut, 0)


def swap_values(vectors: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Take the share `share` of the values of each row (N, d) from other rows, each in its own column.

    Yoon et al., "VIME: Extending the Success of Self- and Semi-supervised Learning to Tabular Domain",
    NeurIPS 2020, equation 3.
    """
    n, width = vectors.shape
    device = generator.device
    other = torch.randint(n, (n, width), generator=generator, device=device).to(vectors.device)
    swapped = (torch.rand(n, width, generator=generator, device=device) < share).to(vectors.device)
    return torch.where(swapped, vectors.gather(0, other), vectors)
