"""Every message that docs/troubleshooting.md explains is one that the code can say."""

from __future__ import annotations

import ast

from tests.docs.pages import ROOT, tokens

PAGE = ROOT / "docs/troubleshooting.md"
GAP = "…"


def said(node: ast.expr) -> str | None:
    """The text of a string, with a gap for each value that is put into it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else GAP for p in node.values)
    return None


def messages() -> set[str]:
    """What the errors of the code say."""
    found = set()
    for package in ("qstar_core", "flows", "tasks"):
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            found |= {text for call in calls for a in call.args[:1] if (text := said(a))}
    return found


def explained() -> list[str]:
    """The code in the first cells of the tables."""
    found, first = [], False
    for token in tokens(PAGE):
        if token.type in ("tr_open", "td_close", "th_close"):
            first = token.type == "tr_open"
        elif token.type == "inline" and first:
            found += [c.content for c in token.children or [] if c.type == "code_inline"]
    return found


def test_every_message_is_in_the_code() -> None:
    assert len(explained()) > 25
    unknown = set(explained()) - messages()
    assert not unknown, f"no error says so: {sorted(unknown)}"
