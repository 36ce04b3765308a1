"""The command `relabel`: finds the nearest dvc.yaml above and runs there what the modules are.

`make` puts it beside Python in .venv/bin. It imports nothing of the project, as the workspace that it finds
may hold other code than the checkout that it came with.
"""

import argparse
import difflib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HOME = Path(__file__).resolve().parents[1]
"""The checkout that this command came with."""
_MAIN = "python -m "


@dataclass(frozen=True)
class Command:
    """What one word runs.

    Attributes:
        module: of Python, and arguments that come first.
        does: one line of help.
        example: of its arguments.
        paths: the options whose value is a path; "" are the arguments without an option. They are read
            from where the person is, not from the workspace.
    """

    module: str
    does: str
    example: str = ""
    paths: tuple[str, ...] = ()


COMMANDS = {
    "init": Command(
        "tasks init",
        "set up the pipeline for your own data",
        "init ~/photos",
        ("", "--into", "--labels", "--examples", "--class-names"),
    ),
    "preset": Command(
        "tasks preset", "set up the pipeline for a known data set", "preset imagenette", ("--into",)
    ),
    "run": Command("dvc repro", "run what is out of date, one stage after the other", "run"),
    "flow": Command("flows.clean_labels", "the same, independent stages side by side", "flow"),
    "serve": Command("flows.serve", "run it on a schedule", "serve --every 6h"),
    "compare": Command("flows.compare", "what changed between versions", "compare main HEAD", ("--html",)),
    "review": Command("review", "decide about suspect labels, in a browser", "review"),
    "explain": Command(
        "tasks explain", "all that is known of one row; --history: over versions", "explain cats/17.jpg"
    ),
    "export": Command(
        "tasks export", "repaired labels in the form of your data", "export ../repaired", ("",)
    ),
    "import-decisions": Command(
        "tasks import-decisions", "take decisions back from Label Studio", "import-decisions out.json", ("",)
    ),
    "predict": Command(
        "tasks predict", "classify new rows", "predict new.csv --out p.csv", ("", "--out", "--model")
    ),
    "sweep": Command(
        "flows.sweep",
        "compare parameters",
        "sweep --grid train_fold.epochs=4,8",
        ("--csv", "--md", "--plot"),
    ),
    "check": Command(
        "flows.check", "limits on labels, for a pull request", "check --against main", ("--markdown",)
    ),
    "doctor": Command("flows.doctor", "what is wrong with this machine, and what to type", "doctor"),
}
# Takes the names themselves, or a file of them.
_NAMES_OR_FILE = "--class-names"
# Take no value, in commands with an argument that is a path: what follows them is that argument.
FLAGS = ("--", "--copy", "--dvc-add", "--probs")
_SHELLS = ("bash", "zsh")
# These need no workspace; they then run in the checkout.
_ANYWHERE = ("init", "preset", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command in its workspace: where it can be run, this process becomes it.

    Returns:
        2 for a command that does not exist, 1 where there is no workspace.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["--version"], ["-V"]):
        print(f"relabel {read_version(HOME)}")
        return 0
    if given[:1] == ["--completion"]:
        shell = given[1] if len(given) > 1 else "bash"
        if shell not in _SHELLS:
            print(f"relabel: --completion: expected {' or '.join(_SHELLS)}, found {shell}.", file=sys.stderr)
            return 2
        print(completion(shell))
        return 0
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ". `relabel --help` lists them"
        print(f"relabel: expected one of {', '.join(COMMANDS)}, found {name}{hint}", file=sys.stderr)
        return 2
    here = Path.cwd()
    root = find_workspace(here) or (HOME if name in _ANYWHERE else None)
    if root is None:
        print(
            f"relabel: expected a workspace, a folder with a dvc.yaml, at {here} or above; found none. Go "
            "into one, or make one: `relabel init PATH --into FOLDER`.",
            file=sys.stderr,
        )
        return 1
    command = COMMANDS[name]
    if name == "explain" and "--history" in rest:
        # Only what knows DVC can read old versions.
        rest.remove("--history")
        return run(root, ["flows.history", *rest])
    return run(root, [*command.module.split(), *from_here(rest, command.paths, here)])


def find_workspace(folder: Path) -> Path | None:
    """The nearest folder with a dvc.yaml, from `folder` upwards."""
    return next((each for each in (folder, *folder.parents) if (each / "dvc.yaml").is_file()), None)


def from_here(arguments: Sequence[str], paths: Sequence[str], here: Path) -> list[str]:
    """The arguments, those that are paths made absolute: the command runs in another folder.

    Args:
        arguments: as typed.
        paths: see `Command`.
        here: the folder of the person.
    """

    def absolute(option: str, value: str) -> str:
        is_path = option in paths and (option != _NAMES_OR_FILE or (here / value).is_file())
        return os.path.normpath(here / value) if is_path else value

    found, option = [], ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--") and equals:
            found.append(f"{name}={absolute(name, value)}")
        elif argument.startswith("-"):
            found.append(argument)
        else:
            found.append(absolute(option, argument))
        takes_next = argument.startswith("--") and not equals and argument not in FLAGS
        option = argument if takes_next else ""
    return found


def run(root: Path, module: Sequence[str]) -> NoReturn:
    """Become `python -m MODULE ...` in the workspace, and say so."""
    print(f"relabel: {shown_command(module)} (in {root})", file=sys.stderr, flush=True)
    # DVC calls `python`: the one of this environment.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.chdir(root)
    environment = {**os.environ, "PATH": programs, "DVC_NO_ANALYTICS": "1"}
    os.execve(sys.executable, [sys.executable, "-m", *module], environment)  # noqa: S606  # no shell


def shown_command(module: Sequence[str]) -> str:
    """What a person would type in the workspace."""
    return shlex.join(module) if module[0] == "dvc" else _MAIN + shlex.join(module)


def usage() -> str:
    """The help."""
    width = max(len(each.does) for each in COMMANDS.values())
    parser = argparse.ArgumentParser(
        prog="relabel",
        usage="relabel COMMAND ...",
        description="Find wrong labels, repair them, and prove what the repair was worth.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        epilog="\n".join(
            [
                "commands (`relabel COMMAND --help` says more):",
                *(
                    f"  {name:<17}{each.does:<{width}}  e.g. relabel {each.example}"
                    for name, each in COMMANDS.items()
                ),
                "",
                "Each runs in the nearest folder above that has a dvc.yaml, and says what it runs there.",
            ]
        ),
    )
    parser.add_argument("--version", action="store_true", help="which version this is")
    parser.add_argument("--completion", metavar="SHELL", help="lines for ~/.bashrc (bash) or ~/.zshrc (zsh)")
    return parser.format_help().rstrip()


def completion(shell: str) -> str:
    """Lines that complete the names of commands, and paths after them, in bash or zsh."""
    names = " ".join(COMMANDS)
    lines = [
        "_relabel() {",
        f'  [ "$COMP_CWORD" -eq 1 ] && COMPREPLY=($(compgen -W "{names}" -- "${{COMP_WORDS[1]}}"))',
        "}",
        "complete -o default -F _relabel relabel",
    ]
    before = ["autoload -U +X compinit && compinit", "autoload -U +X bashcompinit && bashcompinit"]
    return "\n".join((before if shell == "zsh" else []) + lines)


def read_version(checkout: Path) -> str:
    """The version in a checkout's pyproject.toml."""
    found = re.search(r'^version = "(.+)"$', (checkout / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    return found[1] if found else "(unknown)"


if __name__ == "__main__":
    sys.exit(main())
