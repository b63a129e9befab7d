"""The README names every command, and only commands and options that exist."""

import re
from pathlib import Path

import click

from nsl_assets.cli.commands import nsl

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
CODE = [
    line.split("#")[0] for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()
]
LINES = " ".join(CODE).replace("\\ ", " ").split("nsl ")[1:]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and the words after its name."""
    command: click.Command = nsl
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_every_command_is_in_the_readme() -> None:
    missing = {name for name, command in nsl.commands.items() if not command.hidden and f"nsl {name}" not in README}
    assert missing == set()


def test_every_line_of_the_readme_calls_a_command_with_options_that_it_has() -> None:
    assert len(LINES) > 15
    for line in LINES:
        words = line.split()
        command, rest = command_of(words)
        assert command is not nsl, f"nsl {words[0]} is no command"
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = {word for word in rest if word.startswith("--")} - known
        assert unknown == set(), f"nsl {line}"
