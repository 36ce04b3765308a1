"""What the server answers, and to whom: over HTTP, to a real server."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from fastapi import Request
from page_here import review_here
from small_runs import ROOT

from benchmarks.review import write_suspects
from review.__main__ import main
from review.alike import nearest_trusted
from review.guard import refusal_of
from review.server import Decide, Page, Review
from review.suspect_rows import read_suspects
from tasks.decisions.log import PATH, Decision, append_decisions, digest_of, read_decisions, read_whole
from tasks.tables.catalog import PRED_PROBS
from tasks.tables.io import make_table, write_table


@contextmanager
def serve(folder: Path, n_rows: int = 300, **choices: Any) -> Iterator["Client"]:
    write_suspects(folder, n_rows, **{"content": "features", "n_classes": 3, **choices})
    with review_here(folder) as url:
        yield Client(url)


class Client:
    def __init__(self, url: str) -> None:
        self.place = urlsplit(url).netloc

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.place, timeout=30)
        sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text.startswith("{") else text

    def rows(self, **wanted: Any) -> Any:
        status, found = self.ask("GET", f"/api/rows?{urlencode(wanted)}")
        assert status == 200, found
        return found

    def decide(self, ids: list[int], decision: str, status: int = 200, **more: Any) -> Any:
        body = {"example_ids": ids, "decision": decision, "signature": self.rows()["signature"], **more}
        found_status, found = self.ask("POST", "/api/decide", body)
        assert found_status == status, found
        return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serve(tmp_path_factory.mktemp("server")) as client:
        yield client


def test_requests_of_other_sites_change_nothing(client: Client) -> None:
    body = {"example_ids": [0], "decision": "drop", "signature": client.rows()["signature"]}
    own = f"http://{client.place}"
    for refused in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{client.place.split(':')[1]}"},
        {"Host": ""},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        status, answer = client.ask("POST", "/api/decide", body, **refused)
        assert (status, "error" in answer) == (403, True), refused
    # A name that points here is no way to read either.
    assert client.ask("GET", "/api/rows", Host="evil.example")[0] == 403
    assert client.rows(decided="yes")["matching"] == 0
    assert client.ask("POST", "/api/decide", body, Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    client.decide([0], "undo", keys=[client.rows(decided="yes")["rows"][0]["state"]["key"]])


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("127.0.0.1:80", "http://127.0.0.1:80", True),
        # A proxy that ends TLS: another scheme, and maybe the Host of what is behind it.
        ("labels.example", "https://labels.example", True),
        ("127.0.0.1:8765", "https://Labels.example", True),
        ("labels.example", "https://labels.example:1", False),
        ("127.0.0.1:8765", "http://127.0.0.1:1", False),
        ("127.0.0.1:8765", "https://evil.example", False),
        ("127.0.0.1:8765", "https://evil.example@", False),
        ("127.0.0.1:8765", "http://[", False),
        ("127.0.0.1:8765", "null", False),
        ("127.0.0.1:8765", "", False),
    ],
)
def test_the_origin_is_the_page_or_a_name_that_is_allowed(host: str, origin: str, own: bool) -> None:
    headers = {"host": host, "origin": origin, "content-type": "application/json"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "headers": raw})
    assert (refusal_of(request, ("labels.example", "")) == "") == own


def test_the_page_runs_its_own_scripts_alone(client: Client) -> None:
    connection = http.client.HTTPConnection(client.place)
    connection.request("GET", "/")
    answer = connection.getresponse()
    page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    connection.close()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.findall(r"(?:src|href)=\"(?!/static/|data:,)", page)


def test_what_makes_no_sense_is_one_sentence_and_no_line(client: Client) -> None:
    assert "no row with example_id 5" in client.decide([5], "keep", 409)["error"]
    assert "found 'dog'" in client.decide([0], "choose", 409, label="dog")["error"]
    assert "no decision on example 0" in client.decide([0], "undo", 409, keys=["x"])["error"]
    assert "the key of one decision" in client.decide([0], "undo", 409)["error"]
    assert "decision" in client.decide([0], "burn", 422)["error"]
    assert "example_ids" in client.decide([], "keep", 422)["error"]
    assert client.ask("GET", "/api/rows?given=ant")[0] == 422
    assert client.ask("GET", "/api/states?ids=1,x")[0] == 422
    assert client.ask("GET", f"/api/states?ids={'9' * 19}")[0] == 200
    body = {"example_ids": [0], "decision": "keep", "signature": "other"}
    status, answer = client.ask("POST", "/api/decide", body)
    assert (status, "computed anew" in answer["error"]) == (409, True)
    assert client.rows(decided="yes")["matching"] == 0


def test_pages_follow_each_other_without_gaps_while_rows_are_decided(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        first = client.rows(count=10)
        assert [int(row["example_id"]) for row in first["rows"]] == list(range(2900, 1900, -100))
        client.decide([int(row["example_id"]) for row in first["rows"][:4]], "unsure")
        second = client.rows(count=10, after=first["rows"][-1]["position"])
        assert [int(row["example_id"]) for row in second["rows"]] == list(range(1900, 900, -100))
        assert (second["start"], second["matching"]) == (6, 26)
        assert second["progress"] == {"rows": 30, "decided": 4}
        back = client.rows(count=10, before=second["rows"][0]["position"])
        assert [int(row["example_id"]) for row in back["rows"]] == list(range(2500, 1900, -100))


def test_what_is_decided_elsewhere_appears_and_is_not_taken_back_unseen(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        key = client.decide([2900], "keep")["states"]["2900"]["key"]
        given = client.rows(decided="any")["rows"][0]["given"]
        other = Decision("2900", "drop", "", given, "ben", "2026-01-31T12:00:00Z", "none")
        append_decisions(tmp_path / PATH, [other])
        error = client.decide([2900], "undo", 409, keys=[key])["error"]
        assert "ben decided on example 2900 since (drop)" in error
        _, found = client.ask("GET", "/api/states?ids=2900")
        assert found["states"]["2900"]["decision"] == "drop"
        assert found["states"]["2900"]["disagreed"]
        lines = read_decisions(tmp_path / PATH)
        assert [line.decision for line in lines] == ["keep", "drop"]
        assert re.fullmatch(r"[0-9a-f]{12}", lines[0].revision)


def test_issues_that_are_computed_anew_are_noticed(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        before = client.rows()
        (tmp_path / "data" / "label_issues.parquet").unlink()
        assert "being computed anew" in client.rows()["problem"]
        assert client.rows()["matching"] == 30
        assert "being computed anew" in client.decide([0], "keep", 409)["error"]
        assert not (tmp_path / PATH).exists()
        write_suspects(tmp_path, 100, content="features", n_classes=3)
        after = client.rows()
        assert (after["problem"], after["matching"]) == ("", 10)
        assert after["signature"] != before["signature"]
        body = {"example_ids": [0], "decision": "keep", "signature": before["signature"]}
        assert client.ask("POST", "/api/decide", body)[0] == 409


def test_a_decision_is_of_the_revision_that_it_was_made_on(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        client.decide([0], "keep")
        (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
        client.decide([0], "drop")
        first, second = (line.revision for line in read_decisions(tmp_path / PATH))
        assert second == f"{first}-dirty"


def test_a_broken_line_is_the_same_sentence_at_the_start_and_on_the_page(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        client.decide([0], "keep")
        with (tmp_path / PATH).open("a") as file:
            file.write("0,kep\n")
        before = (tmp_path / PATH).read_bytes()
        sentence = "decisions.csv, line 3: expected 8 fields"
        assert sentence in client.rows()["problem"]
        assert sentence in client.decide([10], "keep", 409)["error"]
    command = [sys.executable, "-P", "-m", "review", "--port", "0", "--no-browser"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / PATH).read_bytes() == before


def test_a_port_that_is_taken_is_one_sentence(client: Client, tmp_path: Path) -> None:
    write_suspects(tmp_path, 30, content="features", n_classes=3)
    command = [sys.executable, "-P", "-m", "review", "--no-browser", "--port", client.place.split(":")[1]]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "choose another --port" in done.stderr


def test_70_000_rows_are_one_page_at_a_time(tmp_path: Path) -> None:
    with serve(tmp_path, n_rows=70_000, content="image") as client:
        found = client.rows()
        assert (found["matching"], len(found["rows"])) == (7_000, 50)
        assert all(row["picture"].startswith("data:image/png;base64,") for row in found["rows"])
        assert len(json.dumps(found)) < 200_000
        last = client.rows(issues=False, after=69_989)
        assert (last["matching"], len(last["rows"])) == (70_000, 10)


def test_rows_without_contents_are_shown_all_the_same(tmp_path: Path) -> None:
    write_suspects(tmp_path, 300)
    examples = tmp_path / "data" / "examples.parquet"
    examples.rename(tmp_path / "away")
    with review_here(tmp_path) as url:
        client = Client(url)
        before = client.rows()
        assert "only probabilities" in before["rows"][0]["text"]
        # They appear when they come.
        (tmp_path / "away").rename(examples)
        after = client.rows()
        assert after["rows"][0]["picture"]
        assert after["signature"] != before["signature"]


@pytest.mark.parametrize("port", ["80000", "-5"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--port", port])
    assert f"--port: expected a number from 0 to 65535, found {port}" in capsys.readouterr().err


def test_the_nearest_trusted_rows_are_of_the_same_fold_and_no_issues(
    tmp_path: Path,
) -> None:
    write_suspects(tmp_path, 200, n_classes=2)
    suspects = read_suspects(tmp_path / "data")
    ids = np.sort(suspects.example_id)
    rng = np.random.default_rng(0)
    embedding, fold = rng.normal(size=(200, 5)).astype(np.float32), (np.arange(200) % 2).astype(np.int16)
    columns = {"example_id": ids, "fold": fold, "pred_probs": np.full((200, 2), 0.5, dtype=np.float32)}
    path = PRED_PROBS.at(tmp_path)
    write_table(path, make_table(PRED_PROBS, suspects.facts, columns | {"embedding": embedding}), PRED_PROBS)
    row = 3
    own = int(np.searchsorted(ids, suspects.example_id[row]))
    of = {int(suspects.example_id[place]): place for place in range(200)}
    for k, found in zip((0, 1), nearest_trusted(path, suspects, row, [0, 1], 4), strict=True):
        cosine = embedding @ embedding[own] / np.linalg.norm(embedding, axis=1)
        fit = [
            place
            for place in np.argsort(-cosine)
            if place != own
            and fold[place] == fold[own]
            and suspects.given[of[int(ids[place])]] == k
            and not suspects.is_issue[of[int(ids[place])]]
        ]
        assert found.tolist() == ids[fit[:4]].tolist()
    write_table(path, make_table(PRED_PROBS, suspects.facts, columns), PRED_PROBS)
    assert [len(found) for found in nearest_trusted(path, suspects, row, [0, 1], 4)] == [0, 0]


def test_decisions_that_the_repair_does_not_know_are_counted(tmp_path: Path) -> None:
    write_suspects(tmp_path, 100)
    metrics = tmp_path / "metrics" / "training_set.json"
    metrics.parent.mkdir(exist_ok=True)
    review = Review(tmp_path, "anna")
    assert review.rows(Page())["waiting"] is None

    def repair() -> None:
        metrics.write_text(json.dumps({"decisions": {"md5": digest_of(read_whole(tmp_path / PATH))}}))

    def decide(example_id: int) -> None:
        asked = Decide(example_ids=[example_id], decision="keep", signature=review.suspects.signature)
        review.decide(asked)

    repair()
    assert review.rows(Page())["waiting"] == 0
    decide(900)
    decide(890)
    assert review.rows(Page())["waiting"] == 2
    repair()
    assert review.rows(Page())["waiting"] == 0
    decide(880)
    assert review.rows(Page())["waiting"] == 1
    (tmp_path / PATH).write_bytes(b"")
    assert review.rows(Page())["waiting"] is None


def test_a_body_that_is_too_large_is_not_read(client: Client) -> None:
    before = client.rows(decided="any")["version"]
    body = {"example_ids": [0], "decision": "choose", "label": "x" * 2_000_000, "signature": ""}
    status, answer = client.ask("POST", "/api/decide", body)
    assert status == 413
    assert "1024 KB" in answer["error"]
    assert client.rows(decided="any")["version"] == before
