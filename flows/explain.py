"""Why a search chose its path: its stored tree and, without any model, its replay.

What a model wrote may hold anything, terminal escape sequences too: all that is printed here goes
through `tables.say` or `tables.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from flows.searches import at_budget, searches
from flows.tables import plain, say
from qstar_core.config import SearchConfig
from qstar_core.errors import UserError
from qstar_core.evaluation.trees import nest, shorten
from qstar_core.evaluation.walks import Walked, kept, walked
from qstar_core.evaluation.why import BEAMS, BY_F, again, legend, names, why
from qstar_core.search.replay import differences, replay
from qstar_core.store import dataset, scan

Row = dict[str, Any]

TEXT_CHARACTERS = 60
SHOWN_CHILDREN = 4  # of a node that is off the chosen path
SUGGESTIONS = 5
NUMBER_DIGITS = 7  # a longer one is the beginning of an id


def explain(
    console: Console,
    run: str,
    problem: str,
    method: str | None,
    budget: float | None,
    everything: bool,
    again: bool,
) -> None:
    """Shows one search of a run; see `searches`, `find` and `show`.

    Args:
        console: to print to.
        run: where its searches lie.
        problem: which problem.
        method: which method.
        budget: which budget of a comparison.
        everything: all nodes of the tree.
        again: whether to replay the search too.
    """
    uri = searches(run, budget)
    row, *others = found(uri, problem, method, budget)
    if uri != run:
        say(console, f"Data set   {uri}")
    show(console, row, everything)
    if others:
        names = ", ".join(other["method"] for other in others)
        say(console, "", f"Other methods of this problem, for --method: {names}")
    if again:
        say(console, *replayed(uri, row))


def find(uri: str, problem: str, method: str | None, budget: float | None = None) -> Row:
    """The search to show, the first one of `found`."""
    return found(uri, problem, method, budget)[0]


def found(uri: str, problem: str, method: str | None, budget: float | None = None) -> list[Row]:
    """The searches of one problem in an evaluation data set, the one to show first.

    Args:
        uri: of the data set, local or on S3.
        problem: its number from 1 in the order of the data set, the beginning of its id, or a
            part of its prompt.
        method: name of the one to show; None takes A*, or the first that has a tree of this problem
            where A* has none.
        budget: one of the budgets of a comparison; None takes the largest.

    Returns:
        That search and, without a method, the others in the order of the data set.

    Raises:
        UserError: no such data set, problem, method or budget, or several problems fit.
    """
    frame = scan(uri)
    if "budget" in frame.collect_schema() or budget is not None:
        frame, _, _ = at_budget(frame, uri, budget)
    if "nodes" not in frame.collect_schema():
        raise UserError(
            f"{uri} holds no searches",
            next_step="name a data set evaluation of qstar run, or comparison of qstar compare",
        )
    heads = frame.select("problem_id", "prompt", "method").collect()
    methods = heads["method"].unique(maintain_order=True).to_list()
    if method is not None and method not in methods:
        raise UserError(f"no method {method!r} in {uri}", next_step="one of: " + ", ".join(methods))
    prompts = {row[0]: row[1] for row in heads.select("problem_id", "prompt").iter_rows()}
    wanted = _problem(prompts, problem)
    rows = frame.filter(pl.col("problem_id") == wanted)
    if method is not None:
        rows = rows.filter(pl.col("method") == method)
    there: list[Row] = sorted(rows.collect().to_dicts(), key=lambda r: methods.index(r["method"]))
    first = max(there, key=lambda row: (bool(row["nodes"]), row["algorithm"] == "astar"))
    return [first, *(row for row in there if row is not first)]


def _problem(prompts: dict[str, str], asked: str) -> str:
    ids = list(prompts)
    step = f"give a number from 1 to {len(ids)}, the beginning of an id, or more of it"
    if asked.isdecimal() and len(asked) <= NUMBER_DIGITS:
        if not 1 <= int(asked) <= len(ids):
            raise UserError(f"there is no problem {asked}", next_step=step)
        return ids[int(asked) - 1]
    exact = [k for k in ids if k.startswith(asked) or prompts[k].strip() == asked.strip()]
    fitting = exact or [k for k in ids if asked in prompts[k]]
    if len(fitting) == 1:
        return fitting[0]
    examples = "; ".join(prompts[k].strip() for k in (fitting or ids)[:SUGGESTIONS])
    what = f"{len(fitting)} problems fit {asked!r}" if fitting else f"no problem fits {asked!r}"
    raise UserError(f"{what}: {examples}", next_step=step)


def show(console: Console, row: Row, everything: bool) -> None:
    """Prints a search: what it found, what it cost, its tree, and why this path was chosen.

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
        f"Spent      {row['policy_tokens']} policy tokens, {row['value_calls']} value calls, "
        f"{row['expansions']} expansions; ended: {row['stop_reason']}",
        "",
    ]
    say(console, *lines)
    root = nest(row["nodes"] or [])
    if root is None:
        say(console, "The data set has no tree of this search.")
        return
    console.print(_tree(root, everything, notes(row), names(row["algorithm"])))
    console.print(legend(row["algorithm"], row["nodes"]), style="dim", highlight=False)
    console.print(plain("\n" + " ".join(why(row))))


def replayed(uri: str, row: Row) -> list[str]:
    """What a search finds when it is run again from its record.

    Args:
        uri: of its data set, whose manifest has the configuration.
        row: of `find`.

    Raises:
        UserError: it left no record, or this is not the code that made it; or its settings were
            chosen for the problem.
    """
    manifest = dataset.read_manifest(uri) or {}
    config = manifest.get("config", {})
    asked = (config.get("comparison") or {}).get("methods") if "budget" in row else None
    methods = {m["name"]: m for m in asked or (config.get("evaluation") or {}).get("methods") or []}
    try:
        method, domain = methods[row["method"]], config["domain"]["name"]
        settings = SearchConfig.model_validate(method)
    except (KeyError, ValidationError) as error:
        raise UserError(
            f"the manifest of {uri} does not say how {row['method']!r} searched: {error}",
            next_step="replay with the version of qstar that made it; its manifest names that",
        ) from error
    if settings.algorithm == "adaptive":
        raise UserError(
            f"the settings that {row['method']} chose for this problem are not on record, so its "
            "search cannot be replayed",
            next_step="name another --method; its tree is shown without --replay",
        )
    result = replay(row, settings, domain)
    found = differences(row, result)
    if found:
        return ["", "Replayed without a model, with differences:", *(f"  {d}" for d in found)]
    spent = f"{result.expansions} expansions, {result.policy_tokens} policy tokens"
    return ["", f"Replayed without a model: same answer, {spent}, {len(result.nodes)} nodes."]


def notes(row: Row) -> dict[int, str]:
    """What an algorithm says of its nodes beside f: visits of MCTS, what beams kept, reopening."""
    nodes = row["nodes"]
    if row["algorithm"] == "mcts":
        seen = walked(nodes).items()
        return {place: _statistics(action) for place, action in seen if place}
    if row["algorithm"] in BEAMS:
        extended = kept(row)
        inner = [n["node"] for n in nodes if not n["terminal"] and n["parent"] >= 0]
        return {place: "kept" if place in extended else "pruned" for place in inner}
    return dict.fromkeys(again(nodes), "taken up again") if row["algorithm"] in BY_F else {}


def _statistics(action: Walked) -> str:
    prior = "" if action.prior is None else f", P {action.prior:.3f}"
    return f"n {action.visits}, V {action.value:.3f}{prior}"


def _tree(root: Row, everything: bool, noted: Mapping[int, str], called: Mapping[str, str]) -> Tree:
    top = Tree(_label(root, noted, called))
    stack = [(root, top)]
    while stack:
        node, branch = stack.pop()
        children = node["children"]
        few = children
        if not everything and not node["chosen"] and node["depth"] > 0:
            few = children[:SHOWN_CHILDREN]
        for child in few:
            stack.append((child, branch.add(_label(child, noted, called))))
        if len(few) < len(children):
            branch.add(Text(f"{len(children) - len(few)} more", style="dim"))
    return top


def _label(node: Row, noted: Mapping[int, str], called: Mapping[str, str]) -> Text:
    text = shorten(node["text"], TEXT_CHARACTERS)
    named = [
        *((name, node[column]) for column, name in called.items()),
        ("log p", node.get("logprob")),
    ]
    numbers = [noted[node["node"]]] if node["node"] in noted else []
    if node["depth"]:  # the question has no values
        numbers += [f"{name} {value:.3f}" for name, value in named if value is not None]
    order = f"#{node['order']} " if node["order"] >= 0 else ""
    end = f" * {node['grade']}".rstrip() if node["terminal"] else ""
    label = plain(f"{order}{text}{end}")
    label.stylize("bold green" if node["chosen"] else "" if node["order"] >= 0 else "dim")
    label.append(f"  {', '.join(numbers)}" if numbers else "", style="dim")
    return label
