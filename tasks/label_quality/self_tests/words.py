"""What the self-tests found: the form of metrics/self_tests.json, and sentences of it."""

from collections.abc import Iterator
from typing import TypedDict

from tasks.label_quality.self_tests.intervals import ShareMetrics


class PlantedMetrics(TypedDict):
    """What became of errors of one kind that were planted."""

    n_planted: int
    found: ShareMetrics
    repaired: ShareMetrics
    auroc: float | None


# `class` is a word of Python's own.
ClassShareMetrics = TypedDict(
    "ClassShareMetrics", {"class": str, "expected": float, "given": float, "is_shifted": bool}
)


class SecondOpinionMetrics(TypedDict):
    """What given label, model and second opinion say of each other."""

    n_rows: int
    agrees_with_model: ShareMetrics
    agrees_with_given: ShareMetrics
    model_agrees_with_given: ShareMetrics
    model_skill: float
    second_skill: float
    is_known: bool
    right_labels: ShareMetrics


class SelfTestMetrics(TypedDict, total=False):
    """metrics/self_tests.json; nothing is in it where the tests are off."""

    planted: dict[str, PlantedMetrics]
    recall: ShareMetrics
    class_shares: ClassShareMetrics
    second_opinion: SecondOpinionMetrics | None


def describe(entries: SelfTestMetrics) -> Iterator[str]:
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
