"""What the documentation shows as code: blocks of its pages, the commands in them, the words in
backticks. A block is fenced or indented; what an indented one is, its text tells."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("howto/*.md")),
    *sorted((ROOT / "docs").glob("reference/*.md")),
]
KINDS = {"bash": "shell", "yaml": "yaml", "python": "python", "json": "json", "text": "text"}
PROGRAMS = {
    *("qstar", "make", "python", "pip", "prefect", "ray", "vllm", "tensorboard", "pytest"),
    *("export", "for", "apt-get", "cd", "mkdir", "cat", "docker", "git", "crontab", "."),
}
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
ASSIGNED = re.compile(r"\w+=\$\(.*\)\s*(#.*)?$", re.DOTALL)
EXCUSE = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->", re.DOTALL)
FILE = re.compile(r"<!--\s*file:\s*(\S+)\s*-->")
SPLIT = {";", "&&", "||", "|", "&"}


@dataclass(frozen=True)
class Block:
    """A piece of code of a page: its first line, what it is, why it is not run, if so, and the
    name of the file that it is, if any."""

    page: Path
    line: int
    kind: str
    text: str
    excuse: str | None = None
    file: str | None = None

    @property
    def names_a_command(self) -> bool:
        """Whether a line begins with a program that pages may use."""
        return any(_program(line) in PROGRAMS for line in self.text.splitlines())

    @property
    def where(self) -> str:
        """Page and line, as an editor takes them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    """The page as CommonMark with tables."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    """All code blocks; an indented one of several kinds comes paragraph by paragraph."""
    excuse = file = None
    for token in tokens(page):
        if token.type == "html_block":
            found, named = EXCUSE.search(token.content), FILE.search(token.content)
            excuse = found[1] if found else excuse
            file = named[1] if named else file
            continue
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            line = token.map[0] + 1
            if token.type == "fence":
                kind = KINDS.get(token.info.strip().partition(" ")[0], "unknown")
                yield Block(page, line + 1, kind, token.content, excuse, file)
            else:
                yield from _indented(page, line, token.content, excuse, file)
        excuse = file = None


def _indented(
    page: Path, line: int, text: str, excuse: str | None, file: str | None
) -> Iterator[Block]:
    parts = re.split(r"(\n\n+)", text)
    kinds = [kind_of(part) for part in parts[::2]]
    if len(set(kinds)) == 1:
        yield Block(page, line, kinds[0], text, excuse, file)
        return
    for part, gap, kind in zip(parts[::2], [*parts[1::2], ""], kinds, strict=True):
        yield Block(page, line, kind, part, excuse)
        line += part.count("\n") + gap.count("\n")


def kind_of(text: str) -> str:
    """``shell``, ``json``, ``yaml``, ``python``, else ``text``."""
    lines = [line for line in text.splitlines() if line.strip()]
    if any(_program(line) in PROGRAMS for line in lines):
        return "shell"
    if all(line.startswith("{") and _parses(json.loads, line) for line in lines):
        return "json"
    if _is_code(text):
        return "python"
    tree = yaml.safe_load(text) if _parses(yaml.safe_load, text) else None
    fields = isinstance(tree, dict) and all(str(name).isidentifier() for name in tree)
    return "yaml" if fields or isinstance(tree, list) else "text"


def _program(line: str) -> str:
    words = line.split()
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    return words[0].rpartition("/")[2] if words else ""


def _parses(parse: object, text: str) -> bool:
    try:
        parse(text)  # type: ignore[operator]
    except (ValueError, SyntaxError, yaml.YAMLError):
        return False
    return True


def _is_code(text: str) -> bool:
    """Python that does something; a list of mappings is YAML."""
    if not _parses(ast.parse, text):
        return False
    return any(isinstance(node, ast.Import | ast.ImportFrom | ast.Call) for node in _nodes(text))


def _nodes(text: str) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(text))


def commands(text: str) -> list[list[str]]:
    """The simple commands of a shell script: words without redirections, loops unrolled once.

    Assignments stay in front of their command, as words; ``$NAME`` of a loop is its first value.
    """
    found: list[list[str]] = []
    values: dict[str, str] = {}
    for line in _logical_lines(text):
        if ASSIGNED.match(line):
            continue  # NAME=$(...) alone: what is inside is not looked at
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split, lexer.commenters = True, "#"
        for words in _split(list(lexer)):
            while words and words[0] in ("do", "done", "then"):
                words = words[1:]
            if words[:1] == ["for"]:
                values[words[1]] = words[3]
            elif words:
                found.append([_filled(word, values) for word in _without_redirection(words)])
    return found


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with their continuations: after a backslash, or within quotes."""
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        if _parses(lambda each: shlex.split(each, comments=True), pending):
            yield pending
            pending = ""
    assert not pending, f"quotes are left open: {pending}"


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in words:
        if word in SPLIT:
            yield command
            command = []
        else:
            command.append(word)
    yield command


def _without_redirection(words: list[str]) -> list[str]:
    for place, word in enumerate(words):
        if word in (">", ">>", "<", "2>"):
            return words[:place]
    return words


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"${name}", value)
    return word


def inline(page: Path) -> list[tuple[int, str]]:
    """Words in backticks, with the line where their paragraph begins."""
    found = []
    for token in tokens(page):
        for child in token.children or []:
            if child.type == "code_inline":
                found.append(((token.map or [0])[0] + 1, child.content))
    return found


def links(page: Path) -> list[tuple[int, str]]:
    """Targets of links and pictures, with the line where their paragraph begins."""
    found = []
    for token in tokens(page):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if child.type in ("link_open", "image") and isinstance(target, str):
                found.append(((token.map or [0])[0] + 1, target))
    return found
