"""Pictures that show the same thing: re-encoded, resized, brighter or darker, moved or slightly cropped.

A coarse perceptual hash finds candidates; pixels decide. The thresholds were chosen on MNIST, where no two
pictures are duplicates, on random parts of it, at 28 and at 64 pixels, and on copies planted in photographs
(`python -m benchmarks.duplicates`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tasks.neighbours import Each, nearest
from tasks.split_rows.alignment import align, correlate, detail
from tasks.split_rows.exact import Digests, hash_rows
from tasks.split_rows.links import Links, pair_up, stand_out

Bytes = npt.NDArray[np.uint8]
Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

THUMBNAIL_SIDE = 32
"""No side of a thumbnail is longer: 1 KB a channel for a row, whatever the picture takes."""
LIKENESS = 0.9
"""Of near duplicates, the correlation of the pixels and that of their details are at least this."""
RICH = 250
"""So many pixels of a thumbnail are more than a figure on an even ground (see `_hash`). Letters, digits and
lone objects have fewer: many are alike, so that copies must be twice as alike, and they are not moved."""
RATIO = 4.0
"""See `stand_out`: so many times farther than a copy is what is not one."""
NEIGHBOURS = 16
"""Candidates for each row; so a picture may have 15 copies."""

_HASH_SIDE = 8
# A correlation of nearly even pixels is one of their noise.
_LEAST_DEVIATION = 2.0
# Moved and cropped pictures are sought among fewer rows, as aligning takes longer than comparing.
_ALIGNED_NEIGHBOURS = 4
_LEAST_HASH_COSINE = 0.8
# So many pixels are compared at a time, in float32: few enough for a core's cache. Aligning holds 16 copies.
_CHUNK_VALUES, _ALIGNED_VALUES = 2**19, 2**17


@dataclass(frozen=True)
class PictureFingerprints:
    """What is kept of pictures to find those that show the same thing.

    Attributes:
        digests: (N, 2) of the content.
        thumbnails: (N, C, h, w), as large as the pictures or as `THUMBNAIL_SIDE`.
        shrunk: whether the pictures are larger than their thumbnails, both ways.
    """

    digests: Digests
    thumbnails: Bytes
    shrunk: bool

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The fingerprints of consecutive portions, of which there is at least one, as of one."""
        digests = np.concatenate([part.digests for part in parts])
        return cls(digests, np.concatenate([part.thumbnails for part in parts]), parts[0].shrunk)


def fingerprint_pictures(pictures: Bytes) -> PictureFingerprints:
    """The fingerprints of pictures (N, H, W) or (N, H, W, C)."""
    colours = np.moveaxis(pictures, 3, 1) if pictures.ndim == 4 else pictures[:, None]
    height, width = (min(side, THUMBNAIL_SIDE) for side in colours.shape[2:])
    down, across = _shares(colours.shape[2], height), _shares(colours.shape[3], width)
    thumbnails = np.empty((*colours.shape[:2], height, width), dtype=np.uint8)
    for part in _chunks(colours):
        thumbnails[part] = np.rint(down @ colours[part].astype(np.float32) @ across.T)
    shrunk = height < colours.shape[2] and width < colours.shape[3]
    return PictureFingerprints(hash_rows(pictures), thumbnails, shrunk)


def near_pictures(
    prints: PictureFingerprints,
    rows: Ints,
    features: Singles | None = None,
    block_rows: int = 512,
    each: Each = map,
) -> Links:
    """Links between near duplicates among the pictures at `rows`; their ends count these.

    Candidates are the nearest in the low frequencies of the cosine transform: pHash (Zauner, "Implementation
    and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2) before its last step, which
    keeps a bit of each. Candidates are near duplicates if the thumbnails correlate, whole and in detail, as
    they are or once moved and scaled onto each other, and if this stands out.

    Mirrored pictures are different: a mirrored b is a d.

    Args:
        prints: of all pictures.
        rows: (M,) positions; their contents are different.
        features: (N, d) of a pretrained network: more candidates to move and scale, no more than that.
        block_rows: see `nearest`.
        each: how to go over blocks of rows and of pairs.
    """
    hashes, deviations, figures = _hash(prints.thumbnails, rows)
    seen = np.flatnonzero(deviations >= _LEAST_DEVIATION)
    k = min(NEIGHBOURS, len(seen) - 1)
    if k < 1:
        return Links.join()
    rows, rich = rows[seen], figures[seen] >= RICH
    own_features = features[rows] if features is not None and prints.shrunk else None
    first, second, promising = _candidates(hashes[seen], k, own_features, block_rows, each)
    both_rich = rich[first] & rich[second]
    limit = np.where(both_rich, 1 - LIKENESS, (1 - LIKENESS) / 2)
    # What is moved may become a near duplicate, so that any row of these may need all its distances.
    looked_at = np.inf if prints.shrunk else limit
    links = _compare(prints.thumbnails, rows, first, second, looked_at, each)
    if prints.shrunk:
        movable = both_rich & (links.distance > limit)
        links = _move(prints.thumbnails, rows, links, promising & movable, each)
        # What stands out now must do so too once the other candidates are moved as it was.
        near = stand_out(links, len(rows), limit=limit, ratio=RATIO)
        ends = np.zeros(len(rows), dtype=bool)
        ends[first[near]] = ends[second[near]] = True
        rest = (ends[first] | ends[second]) & ~promising & movable
        links = _move(prints.thumbnails, rows, links, rest, each)
    links = links.take(stand_out(links, len(rows), limit=limit, ratio=RATIO))
    return Links(seen[links.first], seen[links.second], links.distance)


def _candidates(
    hashes: Singles, k: int, features: Singles | None, block_rows: int, each: Each
) -> tuple[Ints, Ints, Bools]:
    """Pairs to compare, sorted, and (P,) which are so promising that one is moved onto the other."""
    found = nearest(hashes, k, metric="cosine", block_rows=block_rows, each=each)
    own = np.arange(len(hashes))[:, None]
    # A row beside itself is no pair.
    close = np.where(found.distance <= 1 - _LEAST_HASH_COSINE, found.index, own)[:, :_ALIGNED_NEIGHBOURS]
    index, promising = found.index, [close]
    if features is not None:
        promising.append(_nearest_features(features, min(_ALIGNED_NEIGHBOURS, k), block_rows, each))
        index = np.hstack([index, promising[-1]])
    first, second, _ = pair_up(index)
    some_first, some_second, _ = pair_up(np.hstack(promising))
    chosen = np.zeros(len(first), dtype=bool)
    chosen[np.searchsorted(first * len(hashes) + second, some_first * len(hashes) + some_second)] = True
    return first, second, chosen


def _move(thumbnails: Bytes, rows: Ints, links: Links, chosen: Bools, each: Each) -> Links:
    """The links with their distances once their pictures are moved onto each other, where this is less."""
    first, second = rows[links.first[chosen]], rows[links.second[chosen]]
    moved = _liken(thumbnails, first, second, _align, each, _ALIGNED_VALUES)
    distance = links.distance.copy()
    distance[chosen] = np.minimum(distance[chosen], _distance(moved))
    return Links(links.first, links.second, distance)


def _distance(likeness: Singles) -> Floats:
    """0 of pictures that look the same; rounded, as what is left of float32's rounding is no distance."""
    return np.maximum(1 - likeness.astype(np.float64), 0).round(6)


def _nearest_features(features: Singles, k: int, block_rows: int, each: Each) -> Ints:
    """(N, k) rows with the nearest features; a row itself where its features are all 0."""
    some = np.flatnonzero(features.any(axis=1))
    index = np.repeat(np.arange(len(features))[:, None], k, axis=1)
    k = min(k, len(some) - 1)
    if k > 0:
        found = nearest(features[some], k, metric="cosine", block_rows=block_rows, each=each)
        index[some, :k] = some[found.index]
    return index


def _hash(thumbnails: Bytes, rows: Ints) -> tuple[Singles, Floats, Floats]:
    """Of the pictures at `rows`, (M, m) low frequencies, and (M,) how much and how widely pixels deviate.

    How widely is a number of pixels: that of those which deviate, if all of these did equally (the
    participation ratio, the squared sum over the sum of squares, of the squared deviations).
    """
    down, across = (_cosines(side) for side in thumbnails.shape[2:])
    hashes = np.empty((len(rows), len(down) * len(across) - 1), dtype=np.float32)
    deviations, figures = np.empty(len(rows)), np.empty(len(rows))
    for part in _chunks(thumbnails, len(rows)):
        grey = thumbnails[rows[part]].mean(axis=1, dtype=np.float32)
        # The first coefficient is the mean of the pixels: brightness is nobody's mark.
        hashes[part] = (down @ grey @ across.T).reshape(len(grey), -1)[:, 1:]
        power = (grey - grey.mean(axis=(1, 2), keepdims=True)).reshape(len(grey), -1) ** 2
        deviations[part] = np.where(hashes[part].any(axis=1), np.sqrt(power.mean(axis=1)), 0)
        figures[part] = power.sum(axis=1) ** 2 / np.maximum((power**2).sum(axis=1), np.finfo(np.float32).tiny)
    return hashes, deviations, figures


def _cosines(side: int) -> Singles:
    """(8, side), or fewer, the first rows of the cosine transform of a line (type II, orthonormal)."""
    frequency = np.arange(min(_HASH_SIDE, side))[:, None]
    waves = np.cos(np.pi / side * frequency * (np.arange(side) + 0.5)) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    cosines: Singles = waves.astype(np.float32)
    return cosines


def _compare(
    thumbnails: Bytes, rows: Ints, first: Ints, second: Ints, limit: float | Floats, each: Each
) -> Links:
    """Links between pictures at `rows` in their frames, with the distances that `stand_out` asks for.

    That of pixels is a lower bound of the distance. Details make it exact where it is at most `limit`, and in
    the other links of rows that then have one so short: no other row has near duplicates.
    """
    pixels = _liken(thumbnails, rows[first], rows[second], correlate, each)
    links = Links(first, second, _distance(pixels))
    # What is farther than this from a near duplicate is far enough, whatever its details are.
    alike = pixels >= 1 - RATIO * (1 - LIKENESS)
    short = alike & (links.distance <= limit)
    links = _compare_details(thumbnails, rows, links, short, each)
    ends = np.zeros(len(rows), dtype=bool)
    near = links.distance <= limit
    ends[first[near]] = ends[second[near]] = True
    return _compare_details(thumbnails, rows, links, alike & ~short & (ends[first] | ends[second]), each)


def _compare_details(thumbnails: Bytes, rows: Ints, links: Links, chosen: Bools, each: Each) -> Links:
    """The links, those `chosen` with the distances of their details where these are more."""
    first, second = rows[links.first[chosen]], rows[links.second[chosen]]
    distance = links.distance.copy()
    details = _liken(
        thumbnails, first, second, lambda one, other: correlate(detail(one), detail(other)), each
    )
    distance[chosen] = np.maximum(distance[chosen], _distance(details))
    return Links(links.first, links.second, distance)


def _liken(
    thumbnails: Bytes,
    first: Ints,
    second: Ints,
    measure: Callable[[Singles, Singles], Singles],
    each: Each,
    chunk_values: int = _CHUNK_VALUES,
) -> Singles:
    """(P,) the likeness of pairs of pictures, as `measure` says of pictures (n, C, h, w) and their others."""

    def compare(part: slice) -> Singles:
        return measure(*(thumbnails[rows[part]].astype(np.float32) for rows in (first, second)))

    chunks = _chunks(thumbnails, len(first), chunk_values)
    return np.concatenate([np.empty(0, np.float32), *each(compare, chunks)])


def _align(first: Singles, second: Singles) -> Singles:
    """(n,) the likeness of pairs of pictures once moved and scaled onto each other."""
    # Either may show a part of the other.
    return np.maximum(align(first, second), align(second, first))


def _chunks(pictures: Bytes, n_rows: int | None = None, chunk_values: int = _CHUNK_VALUES) -> Iterator[slice]:
    """Runs of `n_rows` rows, or of all pictures, whose pictures have so many pixels."""
    n_all = len(pictures) if n_rows is None else n_rows
    step = max(chunk_values // int(np.prod(pictures.shape[1:])), 1)
    return (slice(start, start + step) for start in range(0, n_all, step))


def _shares(length: int, shorter: int) -> Singles:
    """(shorter, length) the share that each pixel of a line has in each pixel of a shorter line."""
    edges = np.arange(shorter + 1) * (length / shorter)
    starts = np.maximum(edges[:-1, None], np.arange(length))
    ends = np.minimum(edges[1:, None], np.arange(length) + 1)
    shares: Singles = (np.maximum(ends - starts, 0) * (shorter / length)).astype(np.float32)
    return shares
