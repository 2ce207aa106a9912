"""Hooks of mkdocs.yml: what pages link to outside of docs/ becomes a file of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
COPIES = "source"
COMMANDS = "<!-- commands -->"


def outside(link: str, page: str) -> str | None:
    """The path of a linked file below the checkout, if it is not a page or file of docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith(("docs/", "..")) else path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds every file that a page links to outside of docs/, as text."""
    for page in list(files.documentation_pages()):
        for link, _ in LINK.findall(page.content_string):
            path = outside(link, page.src_uri)
            name = f"{COPIES}/{path}.txt"
            if path and (ROOT / path).is_file() and name not in files.src_uris:
                content = (ROOT / path).read_text(encoding="utf-8")
                files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Points these links at the copies, and writes the page of commands."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n".join(command_lines()))

    def moved(found: re.Match[str]) -> str:
        path = outside(found[1], page.file.src_uri)
        if path is None or not (ROOT / path).is_file():
            return found[0]
        up = "../" * page.file.src_uri.count("/")
        return f"]({up}{COPIES}/{path}.txt)"

    return LINK.sub(moved, markdown)


def command_lines() -> Iterator[str]:
    """Each command of qstar with its arguments and options, as Markdown."""
    import typer

    from flows.cli import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield f"## qstar {name}\n\n{command.help}\n\n| | |\n|---|---|"
        for parameter in command.params:
            called = ", ".join(f"`{option}`" for option in parameter.opts)
            if parameter.param_type_name == "argument":
                called = f"`{parameter.metavar or parameter.name}`"
            said = str(getattr(parameter, "help", "") or "").replace("|", "\\|")
            yield f"| {called} | {said.replace('*', chr(92) + '*')} |"
        yield ""
