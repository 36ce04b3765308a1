"""What the review page takes of memory, in a process of its own."""

import subprocess
import sys
from pathlib import Path

from small_runs import ROOT

from benchmarks.review import write_suspects

MEASURE = """
import re
import sys
from pathlib import Path
from review import suspect_rows
from review.server import Page, Review

def peak():
    # Of this program alone: ru_maxrss begins with that of the process that started it.
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

suspect_rows._IN_MEMORY_BYTES = 0
before = peak()
Review(Path(sys.argv[1]), "anna").rows(Page(issues=False, decided="any"))
print(peak() - before)
"""


def test_memory_follows_the_rows_by_a_kilobyte_each(tmp_path: Path) -> None:
    """Contents stay in the file, as they do where there are many rows."""
    n_rows = 100_000
    write_suspects(tmp_path, n_rows, content="features")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # Beside them a page of rows takes some 70 MB, however many rows there are.
    assert int(done.stdout) < 1024 * n_rows + 70 * 2**20
