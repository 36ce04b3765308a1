"""Every reader on a damaged file: it is refused in a sentence, or read right. `make fuzz` has thousands."""

import functools
import random
import shutil
from pathlib import Path

import pytest

from benchmarks.fuzz import BAD, judge, make_good
from benchmarks.fuzzing.readers import all_readers
from benchmarks.fuzzing.trial import digest


@pytest.mark.slow
def test_damaged_files_are_refused_in_a_sentence_or_read_right(tmp_path: Path) -> None:
    run, repository = make_good(tmp_path)
    (tmp_path / "own").mkdir()
    # Of one folder, the page or the comparison has many files that are damaged, and is read well once.
    read_good = functools.cache(lambda read, good: digest(read(good)))
    bad, n_tried = [], 0
    for number, reader in enumerate(all_readers(tmp_path / "own", run, repository)):
        content = (reader.good / reader.file).read_bytes()
        # Read here, so that what readers import is there for all that follow.
        good = read_good(reader.read, reader.good)
        copy = Path(shutil.copytree(reader.good, tmp_path / f"copy{number}", symlinks=True))
        damages = [pair for group in reader.damages.values() for pair in group.items()]
        draw = random.Random(reader.name)
        for name, change in draw.sample(damages, 1):
            (copy / reader.file).write_bytes(change(content, draw))
            outcome = judge(reader, copy, good)
            n_tried += 1
            if outcome.kind in BAD:
                bad.append((reader.name, name, outcome))
        shutil.rmtree(copy)
    assert n_tried > 50
    assert bad == []
