"""Prompts as Jinja templates: those that come with qstar, and a user's own file.

A template gets the fields of a problem: ``question``, the text that is asked (of ``choice`` with
its options), and what else the domain offers in ``prompt_fields``. It runs in Jinja's sandbox, and
a field that it misspells is an error. What it writes is the prompt as a whole: a policy continues
it, or is asked it through its chat template (``policy.chat``).

Those that come with qstar are named ``DOMAIN/NAME`` and say their version in the first line. The
SHA-256 of a template's text is part of the run key, so none of its changes goes unnoticed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError

FOLDER = Path(__file__).parent
SUFFIX = ".j2"
VERSION = re.compile(r"\{#-? version (\d+)\b")


@dataclass(frozen=True, slots=True)
class Template:
    """A template.

    Attributes:
        name: ``DOMAIN/NAME``, or the path of a user's file.
        version: of one that comes with qstar; empty for others.
        source: its text.
    """

    name: str
    version: str
    source: str

    @property
    def identity(self) -> dict[str, str]:
        """What a run key has of it; the place of a user's file is no part of it."""
        sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        named = {"name": self.name, "version": self.version} if self.version else {}
        return {**named, "sha256": sha256}

    def render(self, fields: Mapping[str, Any]) -> str:
        """The prompt of a problem with these fields.

        Raises:
            UserError: the template asks for another field, fails, or writes nothing.
        """
        from jinja2 import TemplateError

        try:
            prompt = str(_compiled(self).render(**fields))
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise _broken(self.name, error, sorted(fields)) from error
        if not prompt.strip():
            raise _broken(self.name, ValueError("it writes nothing"), sorted(fields))
        return prompt


def names(domain: str) -> list[str]:
    """The templates that come with qstar for a domain."""
    return sorted(f"{domain}/{file.stem}" for file in (FOLDER / domain).glob(f"*{SUFFIX}"))


def load(name: str, domain: str) -> Template:
    """A template.

    Args:
        name: one of `names`, or the path of a file.
        domain: of the problems.

    Raises:
        UserError: there is none of that name, or it is of another domain.
    """
    if name in names(domain):
        source = (FOLDER / f"{name}{SUFFIX}").read_text(encoding="utf-8")
        version = VERSION.match(source)
        return Template(name, version[1] if version else "", source)
    file = Path(name)
    if not file.is_file():
        there = ", ".join(names(domain)) or f"{domain} has none"
        raise UserError(
            f"domain.prompt: no template {name}, and no such file",
            next_step=f"name a file, or one of those that come with qstar: {there}",
        )
    try:
        source = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"domain.prompt: {name} is not UTF-8", next_step="save it as UTF-8"
        ) from error
    return Template(name, "", source)


@lru_cache(maxsize=16)
def _compiled(template: Template) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # a prompt is plain text
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(template.source)


def _broken(name: str, error: Exception, fields: list[str]) -> UserError:
    line = getattr(error, "lineno", None)
    where = f", line {line}" if line else ""
    return UserError(
        f"domain.prompt: {name}{where}: {error}",
        next_step=f"mend the template; its fields are {', '.join(fields)}",
    )
