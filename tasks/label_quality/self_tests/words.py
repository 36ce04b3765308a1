"""What the self-tests found, in sentences."""

from collections.abc import Iterator
from typing import Any


def describe(entries: dict[str, Any]) -> Iterator[str]:
    """Sentences of what `SelfTests.entries` gives; none where the tests are off."""
    if not entries:
        return
    errors = entries["planted"]["uniform"]
    if errors["n_planted"]:
        yield (
            f"Of 100 labels made wrong on purpose it finds {100 * errors['found']['share']:.0f} and repairs "
            f"{100 * errors['repaired']['share']:.0f} ({errors['n_planted']:,} planted, each in a row that "
            "the classifier gets right)."
        )
    views = entries["second_opinion"]
    if views is None:
        yield "There is no second opinion: these probabilities came without embeddings or a second table."
    elif not views["is_known"]:
        yield (
            f"A second opinion agrees with the classifier on {views['agrees_with_model']['share']:.0%} of "
            "rows. How many labels are right cannot be estimated: one of the two is too weak."
        )
    else:
        right = views["right_labels"]
        yield (
            f"A second opinion agrees with the classifier on {views['agrees_with_model']['share']:.0%} of "
            f"rows. At least {right['share']:.1%} of the given labels look right ({right['low']:.1%} to "
            f"{right['high']:.1%})."
        )
    shares = entries["class_shares"]
    if shares["is_shifted"]:
        yield (
            f"The probabilities expect class {shares['class']} in {shares['expected']:.1%} of rows, where "
            f"the labels have it in {shares['given']:.1%}: class weights, resampling or another loss moved "
            "them. Then right labels look wrong. Train without weights, or correct the probabilities."
        )
