"""Every command, option, field, file and link that a page names is there.

Fast: nothing is run. test_blocks.py runs what can be run.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from flows.cli import app
from qstar_core.config import RunConfig
from qstar_core.config_file import load_config
from tests.docs.pages import ASSIGNMENT, PAGES, PROGRAMS, ROOT, blocks, commands, inline, links

DEMO, IMPORTING = (str(ROOT / f"deployments/{name}.yaml") for name in ("demo", "import-example"))
NAMED_FILE = re.compile(
    r"(?<![\w/.-])(?:docs|deployments|tests|benchmarks|qstar_core|flows|tasks)/[\w./-]+\.\w+"
)
IMPORTABLE = re.compile(r"(?:qstar_core|flows|tasks)(?:\.\w+)+")
SECTIONS = set(RunConfig.model_fields)
FIELD = re.compile(r"(\w+)((?:\.\w+)+)(?:[:=].*)?")
NEVER = {"qvm.sharded"}  # named to say that it is refused
EXPECTED_TO_FAIL = {"!"}  # the page shows an error; test_blocks.py sees that it is one
GROUP = typer.main.get_command(app)


@cache
def targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def extras() -> set[str]:
    tree = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(tree["project"]["optional-dependencies"])


def check(words: list[str], name: str = "") -> None:
    """One command of a shell script; complains in the words of the command line itself."""
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words or words[0] in EXPECTED_TO_FAIL:
        return
    program = words[0].rpartition("/")[2]
    assert program in PROGRAMS, f"{program} is no command that the documentation may use"
    if program == "qstar":
        check_qstar(words[1:])
    elif program == "make":
        unknown = [w for w in words[1:] if not ASSIGNMENT.match(w) and w not in targets()]
        assert not unknown, f"no such target: {unknown}"
    elif program == "python":
        check_script(words[1:])
    elif program == "pip":
        asked = {e for w in words for g in re.findall(r"\[(.+?)\]", w) for e in g.split(",")}
        assert asked <= extras(), f"no such extra: {asked - extras()}"


def check_qstar(arguments: list[str]) -> None:
    """Parses it as qstar would, and reads its configuration with its overrides."""
    context = GROUP.make_context("qstar", list(arguments))
    name, command, rest = GROUP.resolve_command(  # type: ignore[attr-defined]
        context, [*context._protected_args, *context.args]
    )
    assert command is not None, f"no such command: {arguments[0]}"
    given = command.make_context(name, rest, parent=context).params
    if isinstance(given.get("config"), str) and given.get("against") is None:
        path = str(given["config"])
        known = (ROOT / path).is_file()
        example = path.isupper() or "/" not in path or "://" in path or path.startswith("results/")
        assert known or example, f"no such configuration: {path}"
        sets = given.get("set_") or []
        stand_in = IMPORTING if any("import_file" in each for each in sets) else DEMO
        load_config(str(ROOT / path) if known else stand_in, sets)


def check_script(arguments: list[str]) -> None:
    """A script is there, and knows its options."""
    if not arguments or arguments[0].startswith("-"):
        return
    script = ROOT / arguments[0]
    assert script.is_file(), f"no such script: {arguments[0]}"
    source = script.read_text()
    for option in arguments[1:]:
        if option.startswith("--"):
            assert f'"{option}"' in source, f"{arguments[0]} does not know {option}"


def check_words(text: str) -> None:
    """A command within a sentence, which may be a part of one: its options are known."""
    program, _, rest = text.partition(" ")
    words = rest.split()
    if (program == "make" and words) or (program == "python" and rest.startswith("benchmarks/")):
        check([program, *words])
    elif program == "qstar" and words and words[0] not in ("COMMAND", "--version"):
        context = GROUP.make_context("qstar", [], resilient_parsing=True)
        command = GROUP.get_command(context, words[0])  # type: ignore[attr-defined]
        assert command is not None, f"no such command: qstar {words[0]}"
        options = {o for parameter in command.params for o in parameter.opts}
        unknown = [w for w in words if w.startswith("--") and w.partition("=")[0] not in options]
        assert not unknown, f"qstar {words[0]} does not know {unknown}"


def models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold, itself or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def has_field(path: list[str], section: type[BaseModel]) -> bool:
    """Whether a configuration may have it; what a free mapping holds is not known."""
    head, *rest = path
    if head.isdigit():
        return not rest or has_field(rest, section)
    if head not in section.model_fields:
        return False
    if not rest:
        return True
    inner = models(section.model_fields[head].annotation)
    if not inner:
        return "dict" in str(section.model_fields[head].annotation)
    return any(has_field(rest, model) for model in inner)


def exists(name: str) -> bool:
    """Whether a dotted name of the library is a module or in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_blocks_are_known(page: Path) -> None:
    wrong = []
    for block in blocks(page):
        assert block.kind != "unknown", f"{block.where}: say what the block is, such as ```bash"
        for words in commands(block.text) if block.kind == "shell" else []:
            try:
                check(words)
            except Exception as error:  # whatever it is, it belongs to this line
                wrong.append(f"{block.where}: {' '.join(words)}\n    {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_fields_of_sentences_are_known(page: Path) -> None:
    wrong = []
    for line, text in inline(page):
        where = f"{page.relative_to(ROOT)}:{line}: `{text}`"
        try:
            check_words(text)
        except Exception as error:  # as above
            wrong.append(f"{where}: {error}")
        field = FIELD.fullmatch(text)
        if field and field[1] in SECTIONS and text not in NEVER and "/" not in text:
            path = [field[1], *field[2].strip(".").split(".")]
            if path[-1] not in ("yaml", "json", "py") and not has_field(path, RunConfig):
                wrong.append(f"{where}: no such field of a configuration")
        if IMPORTABLE.fullmatch(text) and not exists(text):
            wrong.append(f"{where}: no such name in Python")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_are_there(page: Path) -> None:
    named = {path for path in NAMED_FILE.findall(page.read_text()) if "/KEY" not in path}
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    for line, target in links(page):
        path, _, _ = target.partition("#")
        if path and "://" not in path and not (page.parent / path).exists():
            missing.append(f"line {line}: {target}")
    assert not missing, f"{page.name} names what is not there: {missing}"


def test_every_command_is_in_a_page() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    commands = set(GROUP.commands)  # type: ignore[attr-defined]
    untold = {name for name in commands if f"qstar {name}" not in text}
    assert untold <= {"version"}, f"no page tells of: {sorted(untold)}"


@pytest.mark.parametrize(
    "line",
    [
        "qstar runn CONFIG",
        "qstar run CONFIG --plann",
        "qstar run deployments/nowhere.yaml",
        "qstar run CONFIG --set rollouts.sample=3",
        "qstar run CONFIG --set rollouts.samples=many",
        "for n in 1 2; do qstar run CONFIG --set qvm.loss=$n; done",
        "qstar backfill nightly --from 2026-11-20",
        "make demo && make nothing",
        "python benchmarks/nothing.py",
        "python benchmarks/labels.py --billions 1",
        "pip install 'qstar[everything]'",
        "curl example",
    ],
)
def test_what_is_wrong_is_found(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - click's, pydantic's or an assertion's
        for words in commands(line):
            check(words)
