"""The command line's reference page: what ``respeak --help`` prints, of every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main

WIDTH = 80


def commands_page(root: Path) -> str:
    """Return the page, made from the Typer application."""
    from respeak.cli.app import app

    program = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Exit status: 0 when all went well; 1 when some recordings of a folder were skipped, a corpus has problems or",
        "something is missing; 2 for a mistake of the user's, which is one line on stderr.",
    ]
    for name, command in commands(program).items():
        lines += ["", f"## respeak {name}", "", "```text", _help(command, f"respeak {name}"), "```"]
    return "\n".join(lines) + "\n"


def commands(program: Any, prefix: str = "") -> dict[str, Any]:
    """Return every command by its words, those of groups (``corpus list``) among them."""
    found: dict[str, Any] = {}
    for name, command in sorted(program.commands.items()):
        if hasattr(command, "commands"):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = command
    return found


def _help(command: Any, path: str) -> str:
    context = command.context_class(command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH)
    return "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())
