"""Moving and scaling one picture onto another, and how alike two pictures then are."""

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Side of the picture, and steps of the search at this size.
_LEVELS = ((8, 8), (16, 6))
_LAST_STEPS = 2
# A pair that is less alike at the second size is given up.
_LEAST_LIKENESS = 0.9
_LEAST_OVERLAP = 0.6
# In half widths of a picture: one step, and all together.
_LONGEST_STEP = 0.1
_LONGEST_WAY = 0.25
_BLUR_RADIUS = 2
# Pixels at the edge of a picture that was moved show what was put there.
_MARGIN = 2


def correlate(first: Singles, second: Singles, inside: Bools | None = None) -> Singles:
    """(n,) Pearson correlation of the pixels of pictures (n, C, h, w), each colour less its own mean.

    Neither brightness nor contrast changes it. 0 where a picture is even.

    Args:
        first: pictures.
        second: pictures.
        inside: (n, h, w) the pixels to compare; all where None.
    """
    n_values = int(np.prod(first.shape[1:]))
    one, other = (_centre(pictures, inside).reshape(-1, n_values) for pictures in (first, second))
    both, squared, other_squared = (
        np.einsum("np,np->n", *pair) for pair in ((one, other), (one, one), (other, other))
    )
    correlation: Singles = both / np.sqrt(np.maximum(squared * other_squared, np.finfo(np.float32).tiny))
    return correlation


def detail(pictures: Singles) -> Singles:
    """Pictures (n, C, h, w) less their blurred selves: what is left are edges and texture.

    Any two landscapes correlate, as their skies are bright; their details do not.
    """
    down, across = (_blur(side) for side in pictures.shape[2:])
    sharp: Singles = pictures - down @ (pictures @ across.T)
    return sharp


def align(first: Singles, second: Singles) -> Singles:
    """(n,) how alike pictures (n, C, 32, 32) are once `second` is moved and scaled onto `first`.

    The lower of the two correlations of `correlate`, of the pixels and of their details, where they overlap.
    -1 of pairs that do not come to overlap, or are given up. Heights and widths are scaled apart. Found by
    Gauss-Newton steps on the difference, brightness and contrast apart, from a small picture to a larger one
    (Baker, Matthews, "Lucas-Kanade 20 Years On", 2004, section 2.2; appearance variation as in part 3).
    """
    likeness = np.full(len(first), -1, dtype=np.float32)
    grey = [pictures.mean(axis=1, keepdims=True) for pictures in (first, second)]
    warp = np.zeros((len(first), 4))
    for side, n_steps in _LEVELS:
        small = [_shrink(pictures, side) for pictures in grey]
        warp = _improve(small[0], small[1], warp, n_steps)
    seen, inside = _sample(small[1], warp)
    hopeful = np.flatnonzero(correlate(small[0], seen, inside) >= _LEAST_LIKENESS)
    if not len(hopeful):
        return likeness
    first, second = first[hopeful], second[hopeful]
    warp = _improve(grey[0][hopeful], grey[1][hopeful], warp[hopeful], _LAST_STEPS)
    seen, inside = _sample(second, warp, margin=_MARGIN)
    inside[:, :_MARGIN] = inside[:, -_MARGIN:] = inside[:, :, :_MARGIN] = inside[:, :, -_MARGIN:] = False
    found = np.minimum(correlate(first, seen, inside), correlate(detail(first), detail(seen), inside))
    likeness[hopeful] = np.where(inside.mean(axis=(1, 2)) >= _LEAST_OVERLAP, found, -1)
    return likeness


def _blur(side: int) -> Singles:
    """(side, side) the weights of a line's pixels in each blurred pixel; its ends go on as they are."""
    weights = np.zeros((side, side), dtype=np.float32)
    for offset in range(-_BLUR_RADIUS, _BLUR_RADIUS + 1):
        weights[np.arange(side), np.clip(np.arange(side) + offset, 0, side - 1)] += 1
    return weights / np.float32(2 * _BLUR_RADIUS + 1)


def _shrink(pictures: Singles, side: int) -> Singles:
    """Pictures (n, C, h, w) at a smaller size, of which theirs is a multiple: means over areas."""
    n, colours, height, width = pictures.shape
    blocks = pictures.reshape(n, colours, side, height // side, side, width // side)
    small: Singles = blocks.mean(axis=(3, 5), dtype=np.float32)
    return small


def _centre(pictures: Singles, inside: Bools | None) -> Singles:
    """Each colour less its mean over the pixels `inside`, and 0 outside; over all where None."""
    if inside is None:
        means: Singles = pictures.mean(axis=(2, 3), keepdims=True, dtype=np.float32)
        return pictures - means
    mask = inside[:, None].astype(np.float32)
    shown = pictures * mask
    n_shown = np.maximum(mask.sum(axis=(2, 3), keepdims=True), 1)
    centred: Singles = (shown - shown.sum(axis=(2, 3), keepdims=True) / n_shown) * mask
    return centred


def _sample(pictures: Singles, warp: Floats, margin: int = 0) -> tuple[Singles, Bools]:
    """Pictures (n, C, h, w) seen through a warp, and (n, h, w) where the sight is inside their margin.

    With coordinates from -1 to 1, a pixel at (y, x) is seen at (y + warp[0] y + warp[2], x + warp[1] x +
    warp[3]), by linear interpolation.
    """
    down, inside_down = _interpolate(pictures.shape[2], warp[:, 0], warp[:, 2], margin)
    across, inside_across = _interpolate(pictures.shape[3], warp[:, 1], warp[:, 3], margin)
    rows: Singles = down[:, None] @ pictures
    seen: Singles = rows @ across[:, None].swapaxes(2, 3)
    return seen, inside_down[:, :, None] & inside_across[:, None, :]


def _interpolate(side: int, scale: Floats, shift: Floats, margin: int) -> tuple[Singles, Bools]:
    """(n, side, side) the weights of a line's pixels in each pixel seen, (n, side) which are inside."""
    position = ((1 + scale[:, None]) * _places(side) + shift[:, None] + 1) / 2 * side - 0.5
    inside = (position >= margin - 0.5) & (position <= side - margin - 0.5)
    position = np.clip(position, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(position[:, :, None] - np.arange(side)))
    return weights.astype(np.float32), inside


def _places(side: int) -> Floats:
    """(side,) the middles of a line's pixels, from -1 to 1."""
    places: Floats = (np.arange(side) + 0.5) / side * 2 - 1
    return places


def _improve(target: Singles, pictures: Singles, warp: Floats, n_steps: int) -> Floats:
    """The warp (n, 4) after Gauss-Newton steps towards the least difference from `target`."""
    n, _, height, width = target.shape
    down = _places(height).astype(np.float32)[:, None]
    across = _places(width).astype(np.float32)
    for _ in range(n_steps):
        seen, inside = _sample(pictures, warp)
        by_row, by_column = np.gradient(seen, 2 / height, axis=2), np.gradient(seen, 2 / width, axis=3)
        slopes = (by_row * down, by_column * across, by_row, by_column)
        slope = np.stack([_centre(part, inside).reshape(n, -1) for part in slopes], axis=1)
        wanted, have = _centre(target, inside).reshape(n, -1), _centre(seen, inside).reshape(n, -1)
        power = np.maximum(np.einsum("np,np->n", have, have), 1e-6)
        contrast = np.einsum("np,np->n", wanted, have) / power
        rest = wanted - contrast[:, None] * have
        # What more contrast would do is not the warp's to do.
        slope = slope - (slope @ have[:, :, None] / power[:, None, None]) * have[:, None, :]
        slope = slope * contrast[:, None, None]
        normal = (slope @ slope.transpose(0, 2, 1)).astype(np.float64)
        # Damped, so that even pictures have a step too: none.
        damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 4 + 1e-6
        normal += damping[:, None, None] * np.eye(4)
        step = np.linalg.solve(normal, slope @ rest[:, :, None])[..., 0]
        warp = np.clip(warp + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP), -_LONGEST_WAY, _LONGEST_WAY)
    return warp
