"""Compares search methods on the same problems: one row per method, and accuracy by tokens.

Input is the table of searches (`qstar_core.evaluation.run.SCHEMA`). A problem counts as solved
when its outcome is ``correct``. A search or grader that failed counts as unsolved *and* is
counted apart (`FAILURES`), so that a crash can never pass for a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from qstar_core.evaluation.metrics import RESAMPLES, mcnemar, paired_bootstrap, wilson
from qstar_core.evaluation.run import SEARCH_ERROR
from qstar_core.grading import Outcome

OUTCOMES = (*(str(outcome) for outcome in Outcome), SEARCH_ERROR)
FAILURES = (str(Outcome.TIMEOUT), str(Outcome.GRADER_ERROR), SEARCH_ERROR)
"""Outcomes that say nothing about the answer."""
SOLVED = pl.col("outcome") == str(Outcome.CORRECT)
SIGNIFICANCE = 0.05
NO_VERDICT = "not significant"
COSTS = ("policy_tokens", "value_calls", "expansions")


def compare(
    searches: pl.DataFrame,
    seconds: Mapping[str, float],
    baseline: str,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """The table of methods.

    Args:
        searches: one row per method and problem; columns problem_id, method, algorithm, outcome,
            policy_tokens, value_calls, expansions.
        seconds: wall-clock seconds each method took for all its problems.
        baseline: the method the others are compared with.
        seed: of the bootstrap; each method starts from it.
        resamples: bootstrap samples.

    Returns:
        Rows in the order in which the methods appear: method, algorithm, n, correct, accuracy,
        low, high (95 % Wilson interval), policy_tokens, value_calls, expansions (means per
        problem), seconds, outcomes (count by outcome), failures (sum of the `FAILURES` among
        them), pairs, difference, difference_low, difference_high, p_value and verdict. Accuracies
        and differences are shares in 0..1 and -1..1. The difference is taken over the problems
        that both methods have; the baseline's own row, and one without such problems, has None.
        The verdict is "baseline", "better" or "worse" where the 95 % bootstrap interval excludes
        0 *and* the exact McNemar p-value is below `SIGNIFICANCE` (with few differing problems the
        bootstrap alone is too sure), else "not significant".

    Raises:
        ValueError: the baseline or a method's seconds are missing, an outcome is unknown, or a
            method has two rows for one problem.
    """
    _check(searches, seconds, baseline)
    base = searches.filter(pl.col("method") == baseline)
    rows = []
    for (method,), part in searches.group_by("method", maintain_order=True):
        own = _own_figures(str(method), part, seconds)
        if method == baseline:
            rows.append({**own, **_no_difference("baseline")})
        else:
            rows.append({**own, **paired(part, base, seed, resamples)})
    return rows


def verdict(p_value: float, low: float, high: float) -> str:
    """Better or worse where the interval excludes 0 and p is below `SIGNIFICANCE`."""
    if p_value < SIGNIFICANCE:
        return "better" if low > 0 else "worse" if high < 0 else NO_VERDICT
    return NO_VERDICT


def _check(searches: pl.DataFrame, seconds: Mapping[str, float], baseline: str) -> None:
    methods = searches["method"].unique(maintain_order=True).to_list()
    if methods and baseline not in methods:
        raise ValueError(f"the baseline {baseline!r} is not among the methods {methods}")
    missing = [m for m in methods if m not in seconds]
    if missing:
        raise ValueError(f"no seconds for {missing}")
    unknown = set(searches["outcome"]) - set(OUTCOMES)
    if unknown:
        raise ValueError(f"unknown outcomes {sorted(unknown)}; known: {list(OUTCOMES)}")
    double = searches.filter(pl.struct("method", "problem_id").is_duplicated())
    if len(double):
        method, problem = double.select("method", "problem_id").row(0)
        raise ValueError(f"{method!r} has more than one row for problem {problem}")


def _own_figures(method: str, part: pl.DataFrame, seconds: Mapping[str, float]) -> dict[str, Any]:
    n = len(part)
    counts = dict(part["outcome"].value_counts().iter_rows())
    outcomes = {name: int(counts.get(name, 0)) for name in OUTCOMES}
    correct = outcomes[Outcome.CORRECT]
    low, high = wilson(correct, n)
    means = part.select(pl.col(COSTS).mean()).row(0, named=True)
    return {
        "method": method,
        # of adaptive methods each row has the one that was chosen
        "algorithm": part["algorithm"][0] if part["algorithm"].n_unique() == 1 else "adaptive",
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "low": low,
        "high": high,
        **{name: float(means[name]) for name in COSTS},
        "seconds": float(seconds[method]),
        "outcomes": outcomes,
        "failures": sum(outcomes[name] for name in FAILURES),
    }


def _no_difference(verdict: str) -> dict[str, Any]:
    names = ("difference", "difference_low", "difference_high", "p_value")
    return {"pairs": 0, **dict.fromkeys(names), "verdict": verdict}


def paired(
    part: pl.DataFrame, base: pl.DataFrame, seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The difference of two sets of searches over the problems that both have.

    Args:
        part: one row per problem; columns problem_id and outcome.
        base: likewise, of what is subtracted.
        seed: of the bootstrap.
        resamples: bootstrap samples.

    Returns:
        pairs, difference, difference_low, difference_high, p_value and verdict as in `compare`.
    """
    pairs = part.select("problem_id", solved=SOLVED).join(
        base.select("problem_id", baseline=SOLVED), on="problem_id"
    )
    if not len(pairs):
        return _no_difference(NO_VERDICT)
    solved, baseline = pairs["solved"].to_numpy(), pairs["baseline"].to_numpy()
    low, high = paired_bootstrap(solved, baseline, seed=seed, resamples=resamples)
    p_value = mcnemar(solved, baseline)
    return {
        "pairs": len(pairs),
        "difference": float(solved.mean() - baseline.mean()),
        "difference_low": low,
        "difference_high": high,
        "p_value": p_value,
        "verdict": verdict(p_value, low, high),
    }


def accuracy_by_tokens(searches: pl.DataFrame) -> list[dict[str, Any]]:
    """The curve of accuracy against policy tokens, as if every search had ended after so many.

    Args:
        searches: columns method, policy_tokens and anytime, the moments (tokens, correct) at
            which a search's answer becomes right or wrong (`qstar_core.evaluation.run.anytime`).

    Returns:
        For each method in the order of appearance: method and points, a list of
        [tokens, share]: the share of all its problems whose answer would be correct with that
        budget per problem, constant up to the next point. Tokens ascend; the share may fall where
        a search turns to a wrong answer. The first point is at 0, the last at the largest number
        of tokens that the method spent on a problem.
    """
    curves = []
    for (method,), part in searches.group_by("method", maintain_order=True):
        now = pl.col("correct").cast(pl.Int64)
        changes = (
            part.select("anytime")
            .with_row_index("search")
            .explode("anytime")
            .unnest("anytime")
            .drop_nulls()
            .sort("search", "tokens")
            .with_columns(change=now - now.shift(1, fill_value=0).over("search"))
        )
        steps = changes.group_by("tokens").agg(pl.col("change").sum()).sort("tokens")
        points = [[0, 0.0]]
        for tokens, solved in steps.select("tokens", pl.col("change").cum_sum()).iter_rows():
            share = solved / len(part)
            if tokens == 0:
                points = [[0, share]]
            elif share != points[-1][1]:
                points.append([tokens, share])
        last = part["policy_tokens"].sort()[-1]
        if points[-1][0] < last:
            points.append([last, points[-1][1]])
        curves.append({"method": str(method), "points": points})
    return curves
