r"""The answer that a solution gives: its last ``\boxed{...}``, or what follows "the answer is".

A box counts with balanced braces alone (escaped ones are no braces); one that was cut off gives no
answer. ``\boxed 5`` and ``\fbox{5}`` are boxes too, as in the solutions of MATH. A text without a
box may say its answer on one line, behind ``the answer is``, ``final answer:`` or ``answer:``; of
several such lines the last one counts. So do the common harnesses read it. Every pattern is linear
in the text.
"""

from __future__ import annotations

import re

BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
BARE = re.compile(r"[^\s$.,;]+")
BRACE = re.compile(r"\\[\\{}]|[{}]")
BOXES = 16  # the last ones are tried: a text of nothing but open boxes takes linear time too
SAID = re.compile(
    r"(?:\b(?:the|final|correct) answer\b(?:\s(?:to|of|for) [^\n:]{1,80}?)?\s?(?:is\b|:)"
    r"|^[^\S\n]{0,9}answer\s?:)"
    r"[^\S\n]{0,9}:?[^\S\n]{0,9}([^\n]{1,3000})",
    re.IGNORECASE | re.MULTILINE,
)
CLOSING = re.compile(r"\.?\s{0,9}I hope it is correct.*", re.IGNORECASE | re.DOTALL)
MATHS = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)")


def final(text: str) -> str | None:
    """The answer of a solution, as it is written; None where it gives none."""
    found = boxed(text)
    return said(text) if found is None else found


def boxed(text: str) -> str | None:
    r"""What the last complete ``\boxed{...}`` holds; None without one."""
    for start in [match.end() for match in BOX.finditer(text)][: -BOXES - 1 : -1]:
        content = _braced(text, start) if text.startswith("{", start) else _bare(text, start)
        if content is not None and content.strip():
            return content.strip()
    return None


def said(text: str) -> str | None:
    """What the last line with an answer says behind its mark; None without one."""
    found = None
    for match in SAID.finditer(text):
        content = CLOSING.sub("", match[1]).strip().strip("*").strip()
        formula = MATHS.match(content)
        if formula:
            content = formula[1] or formula[2]
        content = content.strip().rstrip(".").strip()
        found = content or found
    return found


def _braced(text: str, start: int) -> str | None:
    """What stands between a brace and the one that closes it; None where none does."""
    depth = 0
    for match in BRACE.finditer(text, start):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : match.start()]
    return None


def _bare(text: str, start: int) -> str | None:
    match = BARE.match(text, start)
    return match[0] if match else None
