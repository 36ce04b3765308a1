"""What git and DVC's cache keep of a version: the oracles are a checkout, and DVC itself."""

import hashlib
import os
from pathlib import Path

import pytest
from dvc.repo import Repo
from kept_versions import commit, entry, git, make_repository

from flows import FlowError
from flows.dvc_api.git_files import digest_files, list_files, read_start
from flows.dvc_api.kept import Cache
from flows.dvc_api.revisions import open_revisions

# Names and contents that a list of lines, or of words, would read wrong.
ODD = {
    "plain.py": b"a = 1\nb = 2\n",
    "no end": b"a\nb",
    "empty": b"",
    "blank lines": b"\n\n",
    "two\nlines": b"x\n",
    'quote"d é': b"\x00\xff\n\x00",
    "kept.crlf": b"one\ntwo\n",
    "kept.loud": b"whisper\n",
}


@pytest.mark.parametrize("below", ["", "a folder/below"])
def test_files_are_digested_as_a_checkout_has_them(tmp_path: Path, below: str) -> None:
    git(tmp_path, "init", "--quiet", "kept")
    kept = tmp_path / "kept"
    root = kept / below
    (root / "deep").mkdir(parents=True)
    for name, content in ODD.items():
        (root / name).write_bytes(content)
        (root / "deep" / name).write_bytes(content)
    (root / "link").symlink_to("plain.py")
    (kept / "outside").touch()
    (kept / ".gitattributes").write_text("*.crlf eol=crlf\n*.loud filter=loud\n")
    git(kept, "config", "filter.loud.smudge", "tr a-z A-Z")
    git(kept, "add", "--all")
    git(kept, "commit", "--quiet", "--no-gpg-sign", "--message", "all")
    for path in [*kept.rglob("*.crlf"), *kept.rglob("*.loud")]:
        path.unlink()
    git(kept, "checkout", "--quiet", ".")
    assert (root / "deep" / "kept.crlf").read_bytes() == b"one\r\ntwo\r\n"
    assert (root / "kept.loud").read_bytes() == b"WHISPER\n"
    files = list_files(root, "HEAD")
    folders = ("", "deep/")
    names = {f"{folder}{name}" for folder in folders for name in ODD} | {"link"}
    assert set(files) - {".gitattributes", "outside"} == names
    names.remove("link")  # git keeps where it leads to
    found = digest_files(root, {name: files[name] for name in sorted(names)})
    assert found == {name: hashlib.md5((root / name).read_bytes()).hexdigest() for name in names}
    assert read_start(root, "HEAD:./deep/kept.loud", 4) == b"WHIS"
    assert digest_files(root, {}) == {}


def test_a_clone_without_contents_brings_them_or_says_that_it_cannot(tmp_path: Path) -> None:
    source = tmp_path / "source"
    git(tmp_path, "init", "--quiet", "source")
    commit(source, "v1", a_py="a = 1\n", tasks__b_py="b\n")
    git(source, "config", "uploadpack.allowFilter", "true")
    options = ("--quiet", "--no-checkout", "--filter=blob:none")
    for name in ("far", "alone"):
        git(tmp_path, "clone", *options, source.as_uri(), name)
    git(tmp_path / "alone", "remote", "set-url", "origin", "/nowhere")
    expected = {
        name: hashlib.md5((source / name).read_bytes()).hexdigest() for name in ("a.py", "tasks/b.py")
    }
    assert digest_files(tmp_path / "far", list_files(tmp_path / "far", "v1")) == expected
    with pytest.raises(FlowError, match="git cannot read that version"):
        digest_files(tmp_path / "alone", list_files(tmp_path / "alone", "v1"))
    with pytest.raises(FlowError, match="git cannot read that version"):
        read_start(tmp_path / "alone", "v1:./a.py", 10)
    with pytest.raises(FlowError, match="git cannot read that version"):
        list_files(source, "0" * 40)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config", ""),
        ("config", "[cache]\n    dir = ../elsewhere\n"),
        ("config.local", "[cache]\n    dir = {here}/mine\n"),
        ("config", "[cache]\n    local = store\n['remote \"store\"']\n    url = ../named\n"),
    ],
)
def test_the_cache_is_where_dvc_has_it(tmp_path: Path, file: str, text: str) -> None:
    root = make_repository(tmp_path / "tiny")
    (root / ".dvc" / file).write_text(text.format(here=tmp_path))
    made = entry("a", "content")
    with Repo(str(root)) as repo:
        stores = repo.cache.local, repo.cache.legacy
    for store in stores:
        cached = Path(store.oid_to_path(made["md5"]))
        assert Cache(root).file(made["md5"]) is None
        cached.parent.mkdir(parents=True)
        cached.write_text("content")
        found = Cache(root).file(made["md5"])
        assert found is not None
        assert found.samefile(cached)
        cached.unlink()


def test_a_pipeline_in_a_folder_of_a_dvc_repository_has_its_cache(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "tiny")
    commit(top, "v1", below__dvc_lock={"schema": "2.0"})
    made = entry("a", "content")
    with Repo(str(top / "below")) as repo:
        cached = Path(repo.cache.local.oid_to_path(made["md5"]))
    cached.parent.mkdir(parents=True)
    cached.write_text("content")
    (revision,) = open_revisions(top / "below", ["v1"])
    found = revision.cache.file(made["md5"])
    assert found is not None
    assert found.samefile(cached)


def test_pipes_and_links_to_nothing_are_not_read(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "tiny")
    commit(root, "v1", inputs__a_csv="a")
    os.mkfifo(root / "inputs" / "pipe")
    (root / "inputs" / "broken").symlink_to("nowhere")
    (here,) = open_revisions(root, ["workspace"])
    expected = {"a.csv": hashlib.md5(b"a").hexdigest(), "pipe": "", "broken": ""}
    assert here.tracked(["inputs", "inputs/broken"]) == {"inputs": expected, "inputs/broken": None}


def test_what_dvc_ignores_is_not_among_what_a_stage_reads(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "tiny")
    files = {
        "tasks__a_py": "a",
        "tasks__a_tmp": "left behind",
        "tasks__old__b_py": "b",
        "tasks__c_dvc": "c",
    }
    commit(root, "v1", **files)
    (root / ".dvcignore").write_text("# not these\n*.tmp\n/tasks/old/\n")
    (root / "tasks" / "new.tmp").touch()
    expected = {name: hashlib.md5(content).hexdigest() for name, content in (("a.py", b"a"), ("c.dvc", b"c"))}
    dvc_read = Repo(str(root))
    walked = {Path(path).name for path in dvc_read.dvcignore.find(dvc_read.fs, str(root / "tasks"))}
    assert walked == set(expected)
    for revision in open_revisions(root, ["v1", "workspace"]):
        found = revision.tracked(["tasks", "tasks/a.py", "nothing"])
        assert found == {"tasks": expected, "tasks/a.py": {"": expected["a.py"]}, "nothing": None}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("dvc_lock", {"schema": "2.0", "stages": ["a"]}),
        ("dvc_lock", {"schema": "2.0", "stages": {"a": None}}),
        ("dvc_lock", {"schema": "2.0", "stages": {"a": {"cmd": "x", "outs": 3}}}),
        ("dvc_lock", {"schema": "2.0", "stages": {"a": {"cmd": "x", "deps": ["b"]}}}),
        ("dvc_lock", {"a": {"cmd": "x"}}),  # of DVC 1
        ("dvc_lock", ["a"]),
        ("dvc_yaml", {"stages": ["a"]}),
        ("dvc_yaml", {"stages": {"a": None}}),
    ],
)
def test_a_file_of_dvc_of_another_form_is_one_sentence(tmp_path: Path, file: str, content: object) -> None:
    root = make_repository(tmp_path / "tiny")
    commit(root, "v1", dvc_lock={"schema": "2.0", "stages": {"a": {"cmd": "x"}}})
    commit(root, "v2", **{file: content})
    for revision in open_revisions(root, ["v2", "workspace"]):
        with pytest.raises(FlowError, match=f"^{revision.name}: DVC cannot read that version: .*validation"):
            revision.has("data/a.parquet")


def test_a_filter_of_git_that_is_not_installed_is_named(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "tiny")
    commit(root, "v1", a_json={"a": 1})
    (root / ".gitattributes").write_text("*.json filter=none\n")
    git(root, "config", "filter.none.smudge", "relabel-has-no-such-program")
    git(root, "config", "filter.none.required", "true")
    with pytest.raises(FlowError, match=r"git cannot read that version: .*relabel-has-no-such-program"):
        read_start(root, "v1:./a.json", 10)


def test_parameters_behind_a_link_are_not_taken_for_none(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "tiny")
    (root / "params.yaml").symlink_to("mine.yaml")
    commit(root, "v1", mine_yaml={"a": 1})
    linked, here = open_revisions(root, ["v1", "workspace"])
    assert here.yaml("params.yaml") == {"a": 1}
    with pytest.raises(FlowError, match=r"^v1: params.yaml: expected names and values, found neither"):
        linked.yaml("params.yaml")


def test_a_folder_that_is_no_repository_of_dvc_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="expected a DVC repository, found no folder"):
        open_revisions(tmp_path, ["workspace"])
    root = make_repository(tmp_path / "tiny")
    (root / ".dvc" / "config").write_text("[core\n")
    with pytest.raises(FlowError, match=r"^DVC in "):
        open_revisions(root, ["workspace"])
