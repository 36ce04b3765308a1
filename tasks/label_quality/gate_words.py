"""What the gate says to people: why rows are not relabelled or dropped, and what helps."""

from tasks.label_quality.gate import (
    CLEAR_SIDE,
    LEAST_AGREEMENT,
    LEAST_AUROC,
    LEAST_NOISE_SHARE,
    LEAST_SIDE,
    Gate,
    Reason,
)

_HELP = (
    "A stronger model (train_fold.model), pretrained features or more rows help, and so do people: the "
    "review page shows them the rows, the most suspect first."
)
_OVERRULE = "To change labels all the same, set pseudo_label.on_weak_model to go_on."
_LEFT = {
    "relabel": "No row is relabelled",
    "drop": "No row is dropped",
    "join": "No row without a label joins",
}


def describe_gate(gate: Gate) -> str | None:
    """Why no row is relabelled or dropped, what helps, and how to do it all the same; None if rows are."""
    closed = gate.closed
    if not closed:
        return None
    action, reason = next(iter(closed.items()))
    head = "No label is changed" if gate.is_closed else _LEFT[action]
    return f"{head}: {_why(gate, reason)}. {_HELP} {_OVERRULE}"


def _why(gate: Gate, reason: Reason) -> str:
    n_changed = gate.relabelled.n_rows + gate.dropped.n_rows
    if reason == "near_chance":
        joined = f" and its {gate.n_joined:,} labels of rows without one" if gate.n_joined else ""
        return (
            "the classifier agrees with the given labels little more than chance does (agreement "
            f"{gate.agreement:.2f}; 0 is chance, 1 is all, {LEAST_AGREEMENT} is needed), so its "
            f"{n_changed:,} changes{joined} are not to be trusted"
        )
    if reason == "too_many_changes":
        n_rows = round(n_changed / gate.changed_share)
        halved = ", halved where there is no second opinion" if gate.is_unsure else ""
        return (
            f"{n_changed:,} of {n_rows:,} rows ({gate.changed_share:.0%}) would be, more than "
            f"{gate.limit:.0%} (pseudo_label.max_changed_share{halved})"
        )
    if reason == "own_mistakes":
        return (
            "where the classifier is surest hardly a label is other than it says, as where all labels are "
            f"right, so that most of the {gate.relabelled.n_rows:,} rows to relabel are its own mistakes"
        )
    if reason == "second_opinion":
        sides = {"relabel": gate.relabelled, "drop": gate.dropped}
        return "; ".join(
            f"of the {sides[action].n_rows:,} rows to {action}, a second opinion takes the classifier's side "
            f"in {sides[action].with_model:,} and the given label's in {sides[action].with_given:,}, where "
            f"the classifier needs {_needed(gate, action):.0%} of these sides, and enough of them to be sure"
            for action, why in gate.closed.items()
            if why == reason
        )
    if reason == "class_shares":
        shares = gate.self_tests["class_shares"]
        return (
            f"the probabilities expect class {shares['class']} in {shares['expected']:.1%} of rows, where "
            f"the labels have it in {shares['given']:.1%}, so that right labels look wrong"
        )
    auroc = gate.self_tests["planted"]["uniform"]["auroc"]
    return (
        "labels made wrong on purpose do not stand out among the others (AUROC "
        f"{'unknown' if auroc is None else format(auroc, '.2f')}; 0.5 is chance, {LEAST_AUROC} is needed)"
    )


def _needed(gate: Gate, action: str) -> float:
    is_unlike_noise = action == "relabel" and gate.noise_share < LEAST_NOISE_SHARE
    return CLEAR_SIDE if is_unlike_noise else LEAST_SIDE
