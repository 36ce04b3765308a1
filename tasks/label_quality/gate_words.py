"""What the gate says to people: why rows are not relabelled or dropped, and what helps."""

from tasks.label_quality.gate import (
    LEAST_AGREEMENT,
    LEAST_AUROC,
    LEAST_BEYOND_CHANCE,
    LEAST_NOISE,
    Gate,
    Reason,
)

_HELP = (
    "A stronger model (train_fold.model), pretrained features or more rows help, and so do people: the "
    "review page shows them the rows, the most suspect first."
)
_OVERRULE = "To change labels all the same, set pseudo_label.on_weak_model to go_on."
_KEPT = "They keep their label, and the review page shows them."
_LEFT = {
    "relabel": "No row is relabelled",
    "drop": "No row is dropped",
    "join": "No row without a label joins",
}


def describe_gate(gate: Gate) -> str | None:
    """Why rows are not relabelled or dropped, what helps, and how to do it all the same; None if all are."""
    said, advice = [], [_HELP, _OVERRULE]
    if closed := gate.closed:
        head = "No label is changed" if gate.is_closed else _LEFT[next(iter(closed))]
        reasons = dict.fromkeys(closed.values())
        said.append(f"{head}: {'; and '.join(_why(gate, reason) for reason in reasons)}.")
        if gate.drops_instead:
            others = "; the other rows to drop keep their label" if "drop" in closed else ""
            said.append(
                f"Too few opinions prove the new labels: rows to relabel are dropped instead{others}."
            )
        if not gate.is_closed and list(closed) == ["drop"]:
            advice = [_KEPT]
    if gate.least_confidence and not gate.relabel:
        why = [_sides(gate, "relabel")]
        if gate.noise.is_falling:
            why.append("of the rows as sure as these fewer have another label, the surer the classifier is")
        elif gate.noise.share < LEAST_NOISE:
            why.append(
                f"other labels are {gate.noise.share:.2f} times as common where the classifier is surest"
            )
        said.append(
            f"Only the surest rows may be relabelled, from a probability of {gate.least_confidence:.3g} on, "
            f"if the second opinion says the same: {', and '.join(why)}, so that the other rows may be its "
            "own mistakes."
        )
        advice = [_HELP, _OVERRULE]
    return " ".join([*said, *advice]) if said else None


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
        halved = ", halved where there is no second opinion" if gate.is_unsure else ""
        n_wanted = round(gate.changed_share * gate.n_rows)
        return (
            f"{n_wanted:,} of {gate.n_rows:,} rows ({gate.changed_share:.0%}) would be changed, more than "
            f"{gate.limit:.0%} (pseudo_label.max_changed_share{halved})"
        )
    if reason == "own_mistakes":
        return (
            "where the classifier is surest hardly a label is other than it says, as where all labels are "
            f"right, so that most of the {_sought(gate, reason)} are its own mistakes"
        )
    if reason == "classes_overlap":
        return (
            "the surer the classifier is, the fewer labels are other than it says, up to the surest of the "
            f"{_sought(gate, reason)}, as where classes overlap and all labels are right"
        )
    if reason == "second_opinion":
        said = [_sides(gate, action) for action, why in gate.closed.items() if why == reason]
        if gate.beyond_chance < LEAST_BEYOND_CHANCE:
            said.append(
                f"where the two agree, {gate.beyond_chance:.0%} of it is more than chance, and "
                f"{LEAST_BEYOND_CHANCE:.0%} would count for more"
            )
        return "; ".join(said) + "; that may be chance, or mistakes of both"
    if reason == "worse_on_held_out" and (found := gate.on_held_out):
        return (
            "a classifier that learned from the repaired labels predicts fewer of the held-out rows as they "
            f"were labelled than one that learned from the given labels ({found.value:+.1%}, "
            f"95 % interval {found.low:+.1%} to {found.high:+.1%})"
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


def _sides(gate: Gate, action: str) -> str:
    sides = {"relabel": gate.relabelled, "drop": gate.dropped}[action]
    return (
        f"of the {_rows(sides.n_rows)} to {action}, a second opinion takes the classifier's side in "
        f"{sides.with_model:,} and the given label's in {sides.with_given:,}"
    )


def _sought(gate: Gate, reason: Reason) -> str:
    """The rows of the actions that are closed for this reason."""
    sides = {"relabel": gate.relabelled, "drop": gate.dropped}
    wanted = [(sides[action].n_rows, action) for action, why in gate.closed.items() if why == reason]
    return " and ".join(f"{_rows(n_rows)} to {action}" for n_rows, action in wanted if n_rows)


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"
