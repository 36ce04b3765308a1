"""Which rows show the same thing, from their fingerprints: small, so that content is read in portions.

prints = join([fingerprint(portion) for portion in portions])
groups = find_groups(ids, prints)
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tasks.neighbours import Each
from tasks.split_rows.exact import first_alike
from tasks.split_rows.groups import Groups, group_rows
from tasks.split_rows.links import Links
from tasks.split_rows.pictures import PictureFingerprints, fingerprint_pictures, near_pictures
from tasks.split_rows.texts import TextFingerprints, fingerprint_texts, first_form, near_texts
from tasks.split_rows.vectors import VectorFingerprints, fingerprint_vectors, near_vectors

Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Content = npt.NDArray[Any] | Sequence[str]
Fingerprints = PictureFingerprints | TextFingerprints | VectorFingerprints


def fingerprint(content: Content) -> Fingerprints:
    """What is kept of consecutive rows to find duplicates, for any kind of content.

    Args:
        content: pictures, uint8 (N, H, W) or (N, H, W, C); N texts; or rows of numbers, floating (N, d).

    Raises:
        ValueError: the content is none of these, or a number is not finite.
    """
    if not isinstance(content, np.ndarray):
        return fingerprint_texts(content)
    if content.dtype == np.uint8 and content.ndim in (3, 4):
        return fingerprint_pictures(content)
    if np.issubdtype(content.dtype, np.floating) and content.ndim == 2:
        return fingerprint_vectors(content)
    raise ValueError(
        "content must be uint8 pictures (N, H, W) or (N, H, W, C), texts, or floating rows (N, d); found "
        f"{content.dtype} {content.shape}"
    )


def join(parts: Sequence[Fingerprints]) -> Fingerprints:
    """The fingerprints of consecutive portions of one table, of which there is at least one."""
    return type(parts[0]).join(cast(Any, parts))


def find_groups(
    ids: Ints,
    prints: Fingerprints,
    *,
    near: bool = True,
    features: Singles | None = None,
    block_rows: int = 512,
    each: Each = map,
) -> Groups:
    """The group of each row. Neither the order of the rows nor the blocks change it.

    Args:
        ids: (N,) example_id, each once.
        prints: of the N rows.
        near: whether rows that are nearly equal make a group, not only rows of equal content.
        features: (N, d) of a pretrained network, for pictures: finds larger crops.
        block_rows: rows that are compared with all others at a time.
        each: how to go over blocks; see `Each`.

    Raises:
        ValueError: an id is there twice, there are not as many ids or features as rows, or a feature is not
            finite.
    """
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if len(ids) != len(prints.digests) or (ordered[1:] == ordered[:-1]).any():
        raise ValueError(f"expected {len(prints.digests)} different ids, found {len(np.unique(ids))}")
    if features is not None and len(features) != len(ids):
        raise ValueError(f"expected features of {len(ids)} rows, found {len(features)}")
    first = form = first_alike(prints.digests[order])
    links = Links.join()
    if near:
        if isinstance(prints, TextFingerprints):
            form = first_form(prints, order)
        different = np.unique(form)
        found = _find_near(prints, order[different], features, block_rows, each)
        links = Links(different[found.first], different[found.second], found.distance)
    groups = group_rows(ordered, first, form, links)
    back = np.argsort(order)
    return Groups(groups.group[back], groups.kind[back])


def _find_near(
    prints: Fingerprints, rows: Ints, features: Singles | None, block_rows: int, each: Each
) -> Links:
    if isinstance(prints, PictureFingerprints):
        return near_pictures(prints, rows, features, block_rows, each)
    if isinstance(prints, TextFingerprints):
        return near_texts(prints, rows)
    return near_vectors(prints, rows, block_rows, each)
