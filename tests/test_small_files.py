"""Small files: what is no file, or larger or deeper than any that is meant, is refused at once."""

import os
from pathlib import Path

import pytest
from ruamel.yaml.error import YAMLError

from tasks import ParamsError
from tasks.params import load_params
from tasks.small_files import parse_json, parse_yaml, read_small

BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    + ["download: *a8"]
)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    pipe, folder, device = tmp_path / "pipe", tmp_path / "folder", tmp_path / "device"
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path in (pipe, folder, device, tmp_path / "none"):
        with pytest.raises(OSError):
            read_small(path)
        with pytest.raises(ParamsError, match="expected"):
            load_params(path)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert read_small(path, 100) == bytes(100)
    with pytest.raises(OSError, match="more than"):
        read_small(path, 99)


@pytest.mark.parametrize("text", [BOMB, "[" * 200_000, "a: " + "{b: " * 5000, "- " * 5000 + "1", "&a [*a]"])
def test_yaml_that_fills_the_memory_or_the_stack_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, YAMLError)):
        parse_yaml(text)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as found:
        load_params(path)
    assert len(str(found.value)) < 1000


def test_aliases_that_a_person_uses_are_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {d: *x}") == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}


@pytest.mark.parametrize("number", ["9" * 5_000, f"0x{'f' * 5_000}", f"-{'1_' * 3_000}0"])
def test_numbers_that_python_does_not_print_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match="digits"):
        parse_yaml(f"a: {number}")
    for text in (f'"{number}"', f"'{number}'"):
        assert parse_yaml(f"a: {text}") == {"a": number}
    with pytest.raises(ValueError, match="digits"):
        parse_yaml(f'a: !!int "{number}"')
    assert parse_yaml(f"a: {'9' * 300}\nb: {'x' * 70_000}")["a"] == int("9" * 300)


def test_a_long_word_of_the_letters_of_hexadecimal_numbers_is_no_number() -> None:
    assert parse_yaml(f"a: {'fade' * 500}") == {"a": "fade" * 500}


def test_deep_json_is_refused() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="deep"):
        parse_json(b"[" * 100_000 + b"]" * 100_000)


def test_values_in_messages_about_parameters_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(f"{'k' * 1000}{n}: {'v' * 10_000}" for n in range(200)))
    with pytest.raises(ParamsError) as found:
        load_params(path)
    assert len(str(found.value)) < 10_000
