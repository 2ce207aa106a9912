"""Each label method against the exact Q*, as a function of the number of samples n.

All methods label the same rollouts, n of each problem, with n continuations of each state that
these visited (`qstar_core.audit.samples`). Disjoint groups of n measure the variance.

For an action a with value q = Q*(s, a) and its labels y_g in the G groups that hold it (all methods
give an action of a group one label), with m the mean of the y_g and s^2 their sample variance
(divided by G - 1),

    mse  = mean over g of (y_g - q)^2
    bias^2 = (m - q)^2 - s^2 / G          unbiased; by chance it may be a little below 0
    variance = mse - bias^2               = s^2

Figures are means over actions weighted by their label rows. Bias^2 and variance are of actions
that at least two groups hold; ``share`` is their share of the rows, and on them the two add up to
``mse_shared``. Where there is one group, as of MCTS, the variance is not measured.

Worked example, n = 1, gamma = 1, one action with q = 1 and the labels 1, 0, 1, 1 in four groups:
m = 3/4, s^2 = 1/4, mse = 1/4, bias = -1/4, bias^2 = 1/16 - 1/16 = 0, variance = 1/4.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import polars as pl

from qstar_core import labels
from qstar_core.audit.samples import (
    IN_ORDER,
    chunks,
    doubled,
    group,
    groups,
    search_tokens,
    sizes,
)
from qstar_core.audit.source import Source
from qstar_core.domains import DOMAINS
from qstar_core.labels.fitted_q import fitted_q_tabular
from qstar_core.labels.steps import ROOT
from qstar_core.mdp import Problem

PROBLEMS = 1000
"""Problems that are compared with the truth unless more are asked for."""
USES: dict[str, tuple[str, ...]] = {
    "best_of_rollouts": (ROOT, "states", "binary_search"),
    "mcts_pool": (ROOT, "mcts"),
    "fitted_q": (ROOT, "states", "binary_search"),
    "stronger_policy": (ROOT, "stronger"),
    "mean_of_rollouts": (ROOT, "states"),
    "soft": (ROOT, "states"),
    "binary_search": (ROOT, "binary_search"),
}
"""The methods in the order of the table, and the sources of the paths each is given."""
TABULAR_ROUNDS = 8
"""Of fitted Q iteration; after as many as a path has steps nothing changes."""

Row = dict[str, Any]
Method = Callable[..., pl.LazyFrame]
Call = Callable[[pl.LazyFrame], pl.LazyFrame]
Plan = tuple[str, int]
"""A method and how many samples it is given."""


def against_truth(
    source: Source,
    problems: Mapping[str, Problem],
    calls: Mapping[str, Call],
    limit: int = PROBLEMS,
) -> Row:
    """Bias, variance and mean squared error of label methods.

    Args:
        source: of labels whose rollouts lie beside them.
        problems: by id; of a domain with ``q_star``.
        calls: of `methods`.
        limit: so many of them are compared, those with the smallest ids, which are hashes.

    Returns:
        ``problems`` compared, ``gamma``, and ``rows`` in the order of methods and n: method, n,
        groups, share, bias (mean of y - q), mse, mse_shared, bias2, variance (None where there is
        one group) and tokens (policy tokens per problem of the paths it was given; None for a
        part of a search, whose cost is not known); or method and note, where there is nothing
        to go by.
    """
    gamma = float(source.settings["gamma"])
    there = sizes(source)
    able = [name for name in calls if labels.POOL_OF.get(name, ROOT) in there]
    plans = {
        (name, n): groups(n, USES[name], there) for name in able for n in _samples(name, there)
    }
    totals: dict[Plan, Row] = {plan: {} for plan in plans}
    compared = 0
    for paths in chunks(source, {name: problems[name] for name in sorted(problems)[:limit]}):
        roots = paths.filter(pl.col("source") == ROOT)
        compared += roots["problem_id"].n_unique()
        for plan, part in _sums(paths, exact(roots, problems, gamma), plans, calls).items():
            for figure, value in part.items():
                totals[plan][figure] = totals[plan].get(figure, 0.0) + value
    rows = [_note(name) for name in calls if name not in able]
    rows += [_figures(*plan, plans[plan], total, compared) for plan, total in totals.items()]
    spent = search_tokens(source, len(problems))
    rows = [{**row, **_of_search(row, there, spent)} for row in rows]
    order = list(USES)
    rows.sort(key=lambda row: (order.index(row["method"]), row.get("n", 0)))
    return {"problems": compared, "gamma": gamma, "rows": rows}


def _searches(name: str) -> bool:
    """Whether a method is given the paths of a search."""
    return not set(IN_ORDER).isdisjoint(USES[name])


def _samples(name: str, there: Mapping[str, int]) -> list[int]:
    """How many samples a method is given: 1, 2, 4, ..., all rollouts; of a search all paths too."""
    everything = max(there[source] for source in USES[name] if source in there)
    found = doubled(there[ROOT])
    return sorted({*found, everything}) if _searches(name) else found


def _of_search(row: Row, there: Mapping[str, int], spent: float | None) -> Row:
    """The tokens of a method that is given a search: known where it is given the whole of it."""
    if not _searches(row["method"]) or row.get("tokens") is None:
        return {}
    whole = row["n"] == _samples(row["method"], there)[-1]
    return {"tokens": row["tokens"] + spent if whole and spent is not None else None}


def methods(settings: Mapping[str, Any]) -> dict[str, Call]:
    """All label methods, each as a function of the paths alone.

    Fitted Q iteration is taken in its tabular form, which trains no model.

    Args:
        settings: the section ``labels`` of a configuration; what a method does not take is left
            out.
    """
    tabular = partial(fitted_q_tabular, rounds=TABULAR_ROUNDS)
    found: dict[str, Method] = {**labels.METHODS, "fitted_q": tabular}
    return {name: _call(found[name], settings) for name in USES}


def _call(method: Method, settings: Mapping[str, Any]) -> Call:
    known = inspect.signature(method).parameters
    chosen = {k: v for k, v in settings.items() if k in known and k != "rounds" and v is not None}
    return lambda paths: method(paths, **chosen)


def exact(roots: pl.DataFrame, problems: Mapping[str, Problem], gamma: float) -> pl.DataFrame:
    """The exact Q* of every action of some rollouts, computed once per distinct trajectory.

    Returns:
        Columns action_id and q, one row per distinct action.
    """
    field = pl.element().struct.field
    ends = (
        roots.filter(pl.col("n_steps") > 0)
        .select(
            "problem_id",
            ids=pl.col("steps").list.eval(field("action_id")),
            texts=pl.col("steps").list.eval(field("text")),
        )
        .unique(pl.col("ids").list.last(), keep="first", maintain_order=True)
    )
    values: dict[str, float] = {}
    for problem_id, ids, texts in ends.iter_rows():
        problem = problems[problem_id]
        values.update(zip(ids, DOMAINS[problem.domain].q_star(problem, texts, gamma), strict=True))
    kinds = {"action_id": pl.String, "q": pl.Float64}
    return pl.DataFrame({"action_id": list(values), "q": list(values.values())}, schema=kinds)


def _sums(
    paths: pl.DataFrame,
    truth: pl.DataFrame,
    plans: Mapping[Plan, int],
    calls: Mapping[str, Call],
) -> dict[Plan, Row]:
    """Sums of the figures over the actions of some problems, each times its rows.

    Args:
        paths: of `qstar_core.audit.samples.chunks`.
        truth: of `exact`.
        plans: how many groups there are of each (method, n).
        calls: of `methods`.
    """
    found: dict[Plan, list[pl.DataFrame]] = {plan: [] for plan in plans}
    tokens = dict.fromkeys(plans, 0)
    for n in sorted({n for _, n in plans}):
        asked = [plan for plan in plans if plan[1] == n]
        for number in range(max(plans[plan] for plan in asked)):
            drawn = group(paths, n, number)
            for plan in asked:
                given = drawn.filter(pl.col("source").is_in(USES[plan[0]]))
                if number < plans[plan] and len(given):
                    drew = ~given["source"].is_in(IN_ORDER)
                    tokens[plan] += int(given["tokens"].filter(drew).sum())
                    found[plan].append(by_action(calls[plan[0]](given.lazy()), truth))
    return {
        plan: {**errors(pl.concat(parts)), "tokens": tokens[plan] / plans[plan]}
        for plan, parts in found.items()
        if parts
    }


def by_action(labelled: pl.LazyFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """The labels of one group by action: action_id, q, y (mean), error (mean square), rows."""
    return (
        labelled.select(pl.col("action_id").cast(pl.String), "y")
        .join(truth.lazy(), on="action_id")
        .group_by("action_id")
        .agg(
            pl.col("q").first(),
            pl.col("y").mean(),
            error=(pl.col("y") - pl.col("q")).pow(2).mean(),
            rows=pl.len(),
        )
        .collect()
    )


def errors(groups: pl.DataFrame) -> Row:
    """The figures of this module's docstring as sums over actions, each times its rows.

    Args:
        groups: rows of `by_action` of all groups.

    Returns:
        rows, bias and mse; and of the actions that two groups hold shared (rows), mse_shared and
        bias2.
    """
    m, s2, number = pl.col("y").mean(), pl.col("y").var(), pl.len()
    actions = groups.group_by("action_id").agg(
        weight=pl.col("rows").sum(),
        bias=m - pl.col("q").first(),
        mse=pl.col("error").mean(),
        bias2=(m - pl.col("q").first()).pow(2) - s2 / number,
        number=number,
    )
    weight, twice = pl.col("weight"), pl.col("number") > 1
    return actions.select(
        rows=weight.sum(),
        bias=(weight * pl.col("bias")).sum(),
        mse=(weight * pl.col("mse")).sum(),
        shared=weight.filter(twice).sum(),
        mse_shared=(weight * pl.col("mse")).filter(twice).sum(),
        bias2=(weight * pl.col("bias2")).filter(twice).sum(),
    ).row(0, named=True)


def _figures(name: str, n: int, groups: int, total: Row, problems: int) -> Row:
    rows, shared = total.get("rows", 0), total.get("shared", 0)
    row: Row = {"method": name, "n": n, "groups": groups, "rows": int(rows)}
    row |= dict.fromkeys(("bias", "mse", "share", "mse_shared", "bias2", "variance", "tokens"))
    if rows:
        row |= {"bias": total["bias"] / rows, "mse": total["mse"] / rows}
        row |= {"share": shared / rows, "tokens": total["tokens"] / problems}
    if shared:
        row["mse_shared"] = total["mse_shared"] / shared
        row["bias2"] = total["bias2"] / shared
        row["variance"] = row["mse_shared"] - row["bias2"]
    return row


def _note(name: str) -> Row:
    kind = labels.POOL_OF[name]
    return {"method": name, "note": f"needs a pool: pools: [{{name: {kind}, kind: {kind}}}]"}
