import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import ROOT

from tasks import ArtifactError
from tasks.decisions.log import (
    DECISIONS,
    HEADER,
    REASONS,
    RELABELLING,
    Decision,
    append_decisions,
    format_decisions,
    outcomes,
    parse_decisions,
    read_decisions,
    standing,
)
from tasks.tables.keys import example_id_of

PATH = Path("reviews", "decisions.csv")
FIRST = ",".join(HEADER) + "\n"
NAMES = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(",\"\n\r ;'#"), min_size=1)
DECIDED = st.builds(
    lambda decision, label, **others: Decision(
        decision=decision, label=label if decision in (*RELABELLING, "undo") else "", **others
    ),
    key=NAMES,
    decision=st.sampled_from(DECISIONS),
    label=NAMES,
    given_label=NAMES,
    reviewer=NAMES,
    time=st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}".zfill(20)),
    revision=st.sampled_from(["0123456789ab", "0123456789ab-dirty", "none"]),
    reason=st.sampled_from(REASONS),
)


def decide(example_id: int, decision: str, label: str = "", reviewer: str = "anna") -> Decision:
    return Decision(str(example_id), decision, label, "cat", reviewer, "2026-01-31T12:00:00Z", "0123456789ab")


def test_the_shipped_file_holds_no_decision() -> None:
    assert (ROOT / PATH).read_text() == FIRST
    assert read_decisions(ROOT / PATH) == []


@given(st.lists(DECIDED, max_size=5))
def test_what_is_written_reads_back(decisions: list[Decision]) -> None:
    content = (FIRST + format_decisions(decisions)).encode()
    assert parse_decisions(content, PATH) == decisions
    # As some editors leave it, and as Windows' do.
    assert parse_decisions(content.removesuffix(b"\n"), PATH) == decisions
    if b'"' not in content:
        assert parse_decisions(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"), PATH) == decisions


@given(st.lists(DECIDED, min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_is_refused_or_lacks_only_its_end(
    decisions: list[Decision], data: st.DataObject
) -> None:
    content = (FIRST + format_decisions(decisions)).encode()
    cut = data.draw(st.integers(0, len(content)))
    try:
        found = parse_decisions(content[:cut], PATH)
    except ArtifactError:
        return
    # The cuts that cannot be seen are those before the reason, which older lines lack, and before `-dirty`.
    whole = [decision == cut_one for decision, cut_one in zip(decisions, found, strict=False)]
    assert all(whole[:-1])
    unseen = (b"-dirty", b",", *(reason.encode() for reason in REASONS if reason))
    assert all(whole) or content[cut:].startswith(unseen)


@given(st.lists(DECIDED, max_size=4), st.lists(DECIDED, max_size=4), st.booleans())
def test_appending_adds_to_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, before: list[Decision], after: list[Decision], ended: bool
) -> None:
    path = tmp_path_factory.mktemp("append") / "reviews" / "decisions.csv"
    append_decisions(path, before)
    if not ended:
        path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    append_decisions(path, after)
    assert read_decisions(path) == [*before, *after]


def test_of_several_decisions_the_latest_stands_and_undo_brings_back_the_one_before() -> None:
    lines = [decide(1, "keep"), decide(2, "drop"), decide(1, "accept", "dog"), decide(1, "unsure")]
    assert outcomes(lines) == ["replaced", "stands", "replaced", "stands"]
    lines.append(undo(lines[3], "ben"))
    assert outcomes(lines) == ["replaced", "stands", "stands", "withdrawn", "undo"]
    assert standing(lines) == [lines[1], lines[2]]
    # Of one that does not stand, of one that is withdrawn, and of none.
    lines += [undo(lines[0]), undo(lines[3]), undo(decide(1, "drop"))]
    assert outcomes(lines) == ["withdrawn", "stands", "stands", "withdrawn", *["undo"] * 4]


def undo(of: Decision, reviewer: str = "anna") -> Decision:
    return replace(of, decision="undo", label=of.name, reviewer=reviewer)


STEP = st.tuples(st.integers(0, 2), st.sampled_from(["keep", "drop", "unsure"]), st.integers(0, 4))


@given(st.lists(STEP, max_size=8), st.data())
def test_what_stands_is_what_taking_out_undone_lines_by_hand_leaves(
    steps: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    lines: list[Decision] = []
    by_hand: list[Decision] = []
    for example_id, decision, reviewer in steps:
        line = decide(example_id, decision, reviewer=f"reviewer {reviewer}")
        lines.append(line)
        by_hand.append(line)
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from([line for line in lines if line.decision != "undo"]))
            lines.append(undo(gone))
            by_hand = [other for other in by_hand if other != gone]
    assert standing(lines) == standing(by_hand)
    assert len({decision.example_id for decision in standing(lines)}) == len(standing(lines))


def test_an_undo_withdraws_its_own_line_after_a_merge_too(tmp_path: Path) -> None:
    path = tmp_path / PATH

    def git(*arguments: str) -> None:
        author = ["-c", "user.name=anna", "-c", "user.email=anna@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-b", "main")
    (tmp_path / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    anna, ben = decide(1, "keep"), decide(1, "drop", reviewer="ben")
    append_decisions(path, [anna])
    git("add", ".")
    git("commit", "-m", "anna keeps")
    git("switch", "-c", "ben")
    append_decisions(path, [ben])
    git("commit", "-am", "ben drops, and anna's was not right")
    append_decisions(path, [undo(anna, "ben")])
    git("commit", "-am", "anna's was not right, says ben")
    git("switch", "main")
    append_decisions(path, [undo(anna)])
    git("commit", "-am", "and so says anna")
    git("merge", "ben")
    found = read_decisions(path)
    assert {line.decision for line in found} == {"keep", "drop", "undo"}
    assert standing(found) == [ben]
    # In whichever order the two branches' lines are put.
    for order in ([anna, undo(anna), ben], [anna, ben, undo(anna)]):
        assert standing(order) == [ben]


def test_files_that_name_rows_by_example_id_still_apply_and_grow(tmp_path: Path) -> None:
    path = tmp_path / PATH
    path.parent.mkdir()
    hashed = example_id_of("site b/scan 7.png")
    old = "example_id,decision,label,given_label,reviewer,time,revision\n"
    path.write_text(f"{old}{GOOD}\n{hashed}{GOOD[1:]}\n")
    assert [line.example_id for line in read_decisions(path)] == [7, hashed]
    new = replace(decide(0, "drop"), key="site b/scan 7.png")
    append_decisions(path, [new])
    assert path.read_text().startswith(f"{old}{GOOD}\n{hashed},keep,")
    # The new line is about the same row as the second, and replaces it.
    assert outcomes(read_decisions(path)) == ["stands", "replaced", "stands"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_without_reasons_still_apply_and_keep_their_number_of_fields(tmp_path: Path, end: str) -> None:
    path = tmp_path / PATH
    path.parent.mkdir()
    old = ",".join(HEADER[:-1])
    path.write_bytes(f"{old}{end}{GOOD}{end}".encode())
    append_decisions(path, [replace(decide(8, "drop"), reason="audit")])
    assert [(line.key, line.reason) for line in read_decisions(path)] == [("7", ""), ("8", "")]
    assert {line.count(",") for line in path.read_text().splitlines()} == {6}
    # Who wants reasons in such a file adds the name of the column.
    path.write_bytes(path.read_bytes().replace(old.encode(), FIRST.strip().encode(), 1))
    append_decisions(path, [replace(decide(9, "drop"), reason="audit")])
    assert [(line.key, line.reason) for line in read_decisions(path)] == [
        ("7", ""),
        ("8", ""),
        ("9", "audit"),
    ]


def test_a_merge_of_branches_that_began_with_different_headers_reads() -> None:
    old = "example_id,decision,label,given_label,reviewer,time,revision\n"
    content = f"{FIRST}{old}{GOOD}\n{FIRST}8{GOOD[1:]}\n"
    assert [line.key for line in parse_decisions(content.encode(), PATH)] == ["7", "8"]


GOOD = "7,keep,,cat,anna,2026-01-31T12:00:00Z,0123456789ab"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("7,keep,,cat,anna,2026-01-31T12:00:00Z", "expected 8 fields"),
        (GOOD + ",more", "expected a reason .*, found 'more'"),
        (GOOD + ",audit,more", "expected 8 fields"),
        (GOOD[1:], "expected the key of a row, found none"),
        (GOOD.replace("keep", "kep"), "expected a decision .*, found 'kep'"),
        (GOOD.replace("keep,", "keep,dog"), "expected no label for `keep`, found 'dog'"),
        (GOOD.replace("keep", "choose"), "expected the name of a class as label of `choose`"),
        (GOOD.replace("keep", "undo"), "expected the line that it withdraws"),
        (GOOD.replace("cat", ""), "expected a given_label, found none"),
        (GOOD.replace("anna", ""), "expected a reviewer, found none"),
        (GOOD.replace("01-31", "02-31"), "expected a time in UTC"),
        (GOOD.replace("Z", ""), "expected a time in UTC"),
        (GOOD[:-1], "expected a revision"),
        (GOOD.replace("cat", '"cat'), "expected 8 fields"),
        ("<<<<<<< HEAD", "expected 8 fields"),
    ],
)
def test_a_broken_line_is_one_sentence_with_its_number(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "decisions.csv"
    content = f"{FIRST}{GOOD}\n\n{GOOD}\n{line}\n{GOOD}\n"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=f"line 5: {expected}"):
        read_decisions(path)
    assert path.read_text() == content


def test_another_header_and_another_encoding_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("id,decision\n")
    with pytest.raises(ArtifactError, match="line 1: expected the header key,decision,label,"):
        read_decisions(path)
    path.write_bytes(f"{FIRST}{GOOD}\n".encode() + GOOD.replace("cat", "Käfer").encode("latin-1"))
    with pytest.raises(ArtifactError, match="line 3: expected UTF-8 text, found the byte 0xe4"):
        read_decisions(path)


def test_nothing_is_appended_to_a_torn_line_or_by_who_objects(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(f"{FIRST}{GOOD}\n{GOOD[:20]}")
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="line 3: expected 8 fields"):
        append_decisions(path, [decide(1, "keep")])

    def object_to(content: bytes) -> None:
        assert content == before
        raise ArtifactError("Somebody decided since.")

    with pytest.raises(ArtifactError, match="Somebody"):
        append_decisions(path, [decide(1, "keep")], check=object_to)
    assert path.read_bytes() == before


def test_what_is_refused_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / PATH

    def object_to(content: bytes) -> None:
        raise ArtifactError("No.")

    with pytest.raises(ArtifactError, match="No"):
        append_decisions(path, [decide(1, "keep")], check=object_to)
    assert not path.exists()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
    with pytest.raises(ArtifactError, match="expected room"):
        append_decisions(path, [decide(1, "keep")])
    assert not path.exists()


def test_a_file_that_is_replaced_meanwhile_gets_the_lines_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / PATH
    append_decisions(path, [decide(1, "keep")])

    def replace(content: bytes) -> None:
        if not (tmp_path / "done").exists():
            (tmp_path / "done").touch()
            (tmp_path / "new").write_bytes(content)
            (tmp_path / "new").replace(path)

    append_decisions(path, [decide(2, "keep"), decide(3, "drop")], check=replace)
    assert [line.example_id for line in read_decisions(path)] == [1, 2, 3]

    def replace_always(content: bytes) -> None:
        (tmp_path / "done").unlink(missing_ok=True)
        replace(content)

    with pytest.raises(ArtifactError, match="replaced 10 times in a row"):
        append_decisions(path, [decide(4, "keep")], check=replace_always)


def test_a_full_disk_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "decisions.csv"
    append_decisions(path, [decide(1, "keep")])
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
    with pytest.raises(ArtifactError, match="expected room for 1 more line"):
        append_decisions(path, [decide(2, "keep")])
    assert path.read_bytes() == before


def test_a_new_file_is_on_the_disk_by_name_when_its_first_line_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / PATH
    places = {"file": path, "folder": path.parent, "workspace": tmp_path}
    synced = []
    fsync = os.fsync

    def record(handle: int) -> None:
        found = os.fstat(handle)
        synced.append(next(name for name, place in places.items() if os.path.samestat(found, place.stat())))
        assert path.read_bytes().endswith(b"\n")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    append_decisions(path, [decide(1, "keep")])
    assert synced == ["file", "folder", "workspace"]
    append_decisions(path, [decide(2, "keep")])
    assert synced[3:] == ["file"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "decisions.csv").mkdir()
    with pytest.raises(ArtifactError, match="expected a file that can be written"):
        append_decisions(tmp_path / "decisions.csv", [decide(1, "keep")])


WRITER = """
import sys
from pathlib import Path
from tasks.decisions.log import Decision, append_decisions
for number in range(int(sys.argv[3])):
    rows = [Decision(str(number * 3 + k), "keep", "", "cat", sys.argv[2], "2026-01-31T12:00:00Z", "none")
            for k in range(3)]
    append_decisions(Path(sys.argv[1]), rows)
    print(number, flush=True)
"""


def write(path: Path, name: str, n: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(n)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_append_side_by_side_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    writers = [write(path, name, 100) for name in ("anna", "ben")]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    found = read_decisions(path)
    for name in ("anna", "ben"):
        assert [line.example_id for line in found if line.reviewer == name] == list(range(300))
    # Batches stay together.
    assert all(len({line.reviewer for line in found[k : k + 3]}) == 1 for k in range(0, 600, 3))


def test_what_was_appended_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    for attempt in range(3):
        with write(path, f"anna{attempt}", 100_000) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(5)]
            time.sleep(0.01 * attempt)
            writer.send_signal(signal.SIGKILL)
            said += writer.stdout.read().splitlines()
        found = [line.example_id for line in read_decisions(path) if line.reviewer == f"anna{attempt}"]
        assert found == list(range(len(found)))
        assert len(found) >= 3 * len(said) >= 15
