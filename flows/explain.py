"""Why a search chose its path: the stored tree of one problem, without any model."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from qstar_core.errors import UserError
from qstar_core.evaluation.trees import nest, shorten
from qstar_core.store import scan

Row = dict[str, Any]

TEXT_CHARACTERS = 60
SHOWN_CHILDREN = 4  # of a node that is off the chosen path
SUGGESTIONS = 5


def find(uri: str, problem: str, method: str | None, budget: float | None = None) -> Row:
    """One search of an evaluation data set.

    Args:
        uri: of the data set, local or on S3.
        problem: its number from 1 in the order of the data set, the beginning of its id, or a
            part of its prompt.
        method: name of the method; None takes the last one that has a tree.
        budget: one of the budgets of a comparison; None takes the largest.

    Raises:
        UserError: no such data set, problem, method or budget, or several problems fit.
    """
    frame = scan(uri)
    if "budget" in frame.collect_schema() or budget is not None:
        frame = at_budget(frame, uri, budget)
    if "nodes" not in frame.collect_schema():
        raise UserError(
            f"{uri} holds no searches", next_step="name an evaluation data set of qstar run"
        )
    heads = frame.select("problem_id", "prompt", "method").collect()
    methods = heads["method"].unique(maintain_order=True).to_list()
    chosen = methods[-1] if method is None else method
    if chosen not in methods:
        raise UserError(f"no method {chosen!r} in {uri}", next_step="one of: " + ", ".join(methods))
    prompts = {row[0]: row[1] for row in heads.select("problem_id", "prompt").iter_rows()}
    wanted = _problem(prompts, problem)
    rows = frame.filter(pl.col("problem_id") == wanted, pl.col("method") == chosen)
    found: Row = rows.collect().to_dicts()[0]
    return found


def at_budget(frame: pl.LazyFrame, uri: str, budget: float | None) -> pl.LazyFrame:
    """The searches of a comparison at one of its budgets; None takes the largest.

    Raises:
        UserError: the data set has no such budget, or none at all.
    """
    if "budget" not in frame.collect_schema():
        raise UserError(f"{uri} has one budget only", next_step="leave --budget out")
    budgets = frame.select(pl.col("budget").unique().sort()).collect()["budget"].to_list()
    chosen = budgets[-1] if budget is None else budget
    if chosen not in budgets:
        there = ", ".join(f"{each:g}" for each in budgets)
        raise UserError(f"no budget {chosen:g} in {uri}", next_step=f"one of: {there}")
    return frame.filter(pl.col("budget") == chosen)


def _problem(prompts: dict[str, str], asked: str) -> str:
    ids = list(prompts)
    if asked.isdecimal() and 1 <= int(asked) <= len(ids):
        return ids[int(asked) - 1]
    exact = [k for k in ids if k.startswith(asked) or prompts[k].strip() == asked.strip()]
    fitting = exact or [k for k in ids if asked in prompts[k]]
    if len(fitting) == 1:
        return fitting[0]
    examples = "; ".join(prompts[k].strip() for k in (fitting or ids)[:SUGGESTIONS])
    what = f"{len(fitting)} problems fit {asked!r}" if fitting else f"no problem fits {asked!r}"
    raise UserError(
        f"{what}: {examples}",
        next_step=f"give a number from 1 to {len(ids)}, the beginning of an id, or more of it",
    )


def show(console: Console, row: Row, everything: bool) -> None:
    """Prints a search: what it found, what it cost, and its tree.

    Args:
        console: to print to.
        row: of `find`.
        everything: all nodes; otherwise off the chosen path only the best children.
    """
    budget = f", budget {row['budget']:g}" if "budget" in row else ""
    lines = [
        f"{row['prompt'].strip()}   ({row['method']}{budget}, problem {row['problem_id'][:12]})",
        f"Answer     {row['answer'] or '(none)'}: {row['outcome']}"
        + (f", {row['reason']}" if row["reason"] else ""),
        f"Spent      {row['policy_tokens']} policy tokens, {row['value_calls']} QVM calls, "
        f"{row['expansions']} expansions; ended: {row['stop_reason']}",
        "",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    root = nest(row["nodes"] or [])
    if root is None:
        console.print("The data set has no tree of this search.", markup=False)
        return
    console.print(_tree(root, everything))
    console.print(
        "f = g + lambda h: larger is better. #n is the order in which states were taken up; "
        "* marks a finished trajectory.",
        style="dim",
        highlight=False,
    )


def _tree(root: Row, everything: bool) -> Tree:
    top = Tree(_label(root))
    stack = [(root, top)]
    while stack:
        node, branch = stack.pop()
        children = node["children"]
        kept = children
        if not everything and not node["chosen"] and node["depth"] > 0:
            kept = children[:SHOWN_CHILDREN]
        for child in kept:
            stack.append((child, branch.add(_label(child))))
        if len(kept) < len(children):
            branch.add(Text(f"{len(children) - len(kept)} more", style="dim"))
    return top


def _label(node: Row) -> Text:
    text = shorten(node["text"], TEXT_CHARACTERS)
    numbers = [
        f"{name} {node[name]:.3f}" for name in ("f", "g", "h", "q") if node[name] is not None
    ]
    order = f"#{node['order']} " if node["order"] >= 0 else ""
    label = Text(f"{order}{text}{' *' if node['terminal'] else ''}")
    label.stylize("bold green" if node["chosen"] else "" if node["order"] >= 0 else "dim")
    label.append(f"  {', '.join(numbers)}" if node["depth"] else "", style="dim")
    return label
