"""`dvc repro`, and where its time went: training, download, and everything else.

`--cd FOLDER` runs it in another workspace; all else is handed on to DVC.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cd", type=Path, default=Path())
    chosen, others = parser.parse_known_args()
    times = (chosen.cd / ".dvc/tmp/stage_times.jsonl").resolve()
    times.parent.mkdir(parents=True, exist_ok=True)
    times.unlink(missing_ok=True)
    started = time.monotonic()
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *others],
        cwd=chosen.cd,
        env={**os.environ, "RELABEL_STAGE_RECORD": str(times)},
        check=False,
    ).returncode
    wall = time.monotonic() - started
    if status == 0 and times.exists():
        print(describe([json.loads(line) for line in times.read_text().splitlines()], wall))
        print(f"The report: {chosen.cd / 'report/index.html'}")
    return status


def describe(stages: list[dict[str, float]], wall: float) -> str:
    """One line: the shares of `wall` seconds; imports of torch count as overhead, not as training."""
    training = sum(stage["training_s"] for stage in stages)
    download = sum(stage["wall_s"] for stage in stages if stage["stage"] == "download")
    rest = wall - training - download
    return (
        f"{wall:.0f} s: {training:.0f} s training, {download:.0f} s download, {rest:.0f} s everything else "
        f"({rest / wall:.0%})"
    )


if __name__ == "__main__":
    sys.exit(main())
