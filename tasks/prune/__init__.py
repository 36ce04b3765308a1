"""Stage `prune`: which rows are label issues, in which order, and what their labels should be.

The rows are passed over part by part, four times: thresholds, confident joint, selection, and once more to
write; the self-tests pass over them some eight times more. Beside the parts at work, memory holds what
`label_quality.issues.find_issues` holds, the labels (two bytes a row), and, where the truth is known, the
score that rows are ranked by. Embeddings, where there are any, are read twice before the last pass, and leave
three numbers a row: importance, its percentile, contrast. For a second opinion they are read twice more, or
oftener where they are large.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tasks import ArtifactError
from tasks.label_quality.gate import LEAST_AGREEMENT
from tasks.label_quality.issues import IssueRows, find_issues
from tasks.label_quality.metrics import chance_corrected_agreement
from tasks.label_quality.self_tests.words import describe
from tasks.params import Params, Prune
from tasks.prune.input_tables import REMEDY, check_proof, open_tables, read_contradictions
from tasks.prune.issue_table import write_issues
from tasks.prune.labelled_rows import LabelledRows
from tasks.prune.memory_plan import check_memory_of_importance, threads_within
from tasks.prune.pass_bar import progress_bar
from tasks.prune.quality import write_health, write_metrics
from tasks.prune.row_importance import measure_importance
from tasks.prune.second_opinions import test_itself
from tasks.prune.subsets import write_subsets
from tasks.tables.catalog import LABEL_ISSUES
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import write_json


def prune(params: Params, workspace: Path) -> None:
    """Write data/label_issues.parquet, two subsets, metrics (issues, health, self-tests) and plots.

    Raises:
        ArtifactError: an input is missing or not what it should be, or the memory allowed is too little.
    """
    section = params.prune
    limit = section.memory_limit_mb * 2**20
    predictions, given = open_tables(workspace, with_embeddings=section.importance != "none")
    facts = given.facts
    proved = check_proof(predictions)
    contradicting = read_contradictions(workspace, predictions, given, needed=proved)
    # Names of classes and files may look like markup.
    console = Console(stderr=True, markup=False, highlight=False)
    n_threads = threads_within(limit, predictions, given)
    is_measured = section.importance != "none" and "embedding" in predictions.schema.names
    if is_measured:
        check_memory_of_importance(predictions, limit)
    elif section.coreset_share is not None:
        raise ArtifactError(
            f"{predictions.where}: expected the column `embedding`, which importance comes from, found none. "
            "Bring embeddings beside the probabilities, or set prune.coreset_share to null."
        )
    with progress_bar(console, predictions, section) as advance:
        rows = LabelledRows(predictions, given, n_threads, advance)
        issues = find_issue_rows(rows, section)
        importance = None
        if is_measured:
            importance = measure_importance(rows, limit, contrast=section.importance == "all_classes")
        tests = test_itself(rows, issues, section) if section.self_tests else None
        counts, detection, doubts, n_errors = write_issues(
            LABEL_ISSUES.at(workspace),
            rows,
            issues,
            importance,
            contradicting,
            tests,
            section,
            judge=not proved,
        )
    write_subsets(workspace, rows, issues.flagged[section.filter_by].rows, importance, section)
    for warning in (*about_small_classes(facts, issues, section), *doubts.warnings(predictions.path)):
        console.print(f"prune: {warning}", soft_wrap=True)
    can_tell = chance_corrected_agreement(counts.suggested) >= LEAST_AGREEMENT
    write_metrics(
        workspace,
        predictions.n_rows,
        issues,
        detection,
        n_errors if can_tell else None,
        len(contradicting),
        section,
    )
    write_health(workspace, facts, issues, counts)
    found = tests.entries(facts.class_names) if tests else {}
    write_json(workspace / "metrics" / "self_tests.json", found)
    print(
        f"prune: {len(issues.flagged[section.filter_by].rows):,} of {predictions.n_rows:,} labels are issues "
        f"({section.filter_by}), data/label_issues.parquet"
    )
    for sentence in describe(found):
        print(f"prune: {sentence}")


def find_issue_rows(rows: LabelledRows, section: Prune) -> IssueRows:
    """What each filter flags of the rows.

    Raises:
        ArtifactError: the probabilities or the labels do not fit.
    """
    try:
        return find_issues(
            rows,
            frac_noise=section.frac_noise,
            min_examples_per_class=section.min_examples_per_class,
            rank_by=section.rank_by,
            adjust_pred_probs=section.adjust_pred_probs,
            with_error_prob=True,
        )
    except ValueError as error:
        raise ArtifactError(f"{rows.predictions.path}: {error}. {REMEDY}") from error


def about_small_classes(facts: DatasetFacts, issues: IssueRows, section: Prune) -> Iterator[str]:
    """What to say of classes that the filter leaves as they are."""
    for k in issues.skipped_classes[section.filter_by]:
        yield (
            f"class {facts.class_names[k]} has too few rows for {section.filter_by} "
            f"(prune.min_examples_per_class = {section.min_examples_per_class}), which leaves it as it is"
        )
