"""Which rollouts a policy is fine-tuned on: correct, each solution once, balanced over problems.

Pure polars. Everything is chosen by hashes of content, nothing by position, so the choice depends
neither on the order of the rows nor on the shards, and that of one problem not on the others.

1. ReST-EM (arXiv 2312.06585) keeps at most ten correct solutions per problem, at random;
   here it is ``sft.per_problem``, by hash, and equal solutions count once.
2. Held-out problems, for the loss by which the checkpoint is chosen, are kept out by hash.
"""

from __future__ import annotations

import polars as pl

from qstar_core.config import SftConfig
from qstar_core.errors import UserError
from qstar_core.grading import Outcome
from qstar_core.keys import content_id, fraction

SELECTED = {
    "problem_id": pl.String,
    "rollout_id": pl.String,
    "text": pl.String,
    "ended": pl.Boolean,
    "rollouts": pl.UInt32,
    "heldout": pl.Boolean,
}
"""Columns of a selection; ``rollouts`` is how many rollouts gave this solution."""


def solutions(rollouts: pl.LazyFrame) -> pl.DataFrame:
    """The correct rollouts with their texts.

    Args:
        rollouts: rows of a rollouts data set; columns problem_id, rollout_id, outcome, steps.

    Returns:
        Columns problem_id, rollout_id, text (the steps joined) and ended (whether the policy ended
        the text).
    """
    steps = pl.col("steps").list
    texts = steps.eval(pl.element().struct.field("text")).list.join("")
    return (
        rollouts.filter(pl.col("outcome") == str(Outcome.CORRECT), steps.len() > 0)
        .select("problem_id", "rollout_id", text=texts, ended=steps.last().struct.field("ended"))
        .collect()
    )


def distinct(found: pl.DataFrame, form: str = "text") -> pl.DataFrame:
    """One solution of each form per problem: that with the smallest id, which is a hash.

    Args:
        found: columns problem_id, rollout_id and the column of the form.
        form: name of the column by which two solutions of a problem are one.

    Returns:
        The rows that stay, with a column rollouts: how many were of the form.
    """
    together = ["problem_id", form]
    ranked = found.sort("rollout_id").with_columns(rollouts=pl.len().over(together))
    return ranked.unique(together, keep="first", maintain_order=True)


def balanced(found: pl.DataFrame, per_problem: int, seed: int, form: str = "text") -> pl.DataFrame:
    """At most so many solutions per problem, those whose hashes are the smallest.

    Args:
        found: of `distinct`.
        per_problem: how many stay at most, >= 1.
        seed: of the hashes.
        form: name of the column that is hashed with the problem.

    Returns:
        The rows that stay, in the order of problems and hashes.
    """
    pairs = found.select("problem_id", form).iter_rows()
    hashes = [content_id("sft", seed, problem, text) for problem, text in pairs]
    return (
        found.with_columns(hash=pl.Series(hashes, dtype=pl.String))
        .sort("problem_id", "hash")
        .filter(pl.int_range(pl.len()).over("problem_id") < per_problem)
        .drop("hash")
    )


def held_out(problem_id: str, share: float, seed: int) -> bool:
    """Whether a training problem is kept for the held-out loss, by hash."""
    return fraction("sft holdout", problem_id, seed) < share


def select(
    rollouts: pl.LazyFrame, config: SftConfig, seed: int, forms: dict[str, str] | None = None
) -> pl.DataFrame:
    """The solutions that a policy is fine-tuned on, and the held-out ones.

    Args:
        rollouts: rows of a rollouts data set.
        config: per_problem, holdout, min_problems.
        seed: of the hashes.
        forms: canonical form by rollout id, where two of one form count as one; None compares the
            texts.

    Returns:
        Columns `SELECTED`, in the order of problems and hashes.

    Raises:
        UserError: fewer than ``sft.min_problems`` problems are left to train on.
    """
    found, form = solutions(rollouts), "text"
    if forms is not None:
        form = "form"
        column = [forms[rollout] for rollout in found["rollout_id"]]
        found = found.with_columns(form=pl.Series(column, dtype=pl.String))
    chosen = balanced(distinct(found, form), config.per_problem, seed, form)
    kept = [held_out(problem, config.holdout, seed) for problem in chosen["problem_id"]]
    chosen = chosen.with_columns(heldout=pl.Series(kept, dtype=pl.Boolean))
    check_enough(chosen, config.min_problems)
    return chosen.select(*SELECTED)


def check_enough(chosen: pl.DataFrame, min_problems: int) -> None:
    """Refuses a selection of too few problems.

    Args:
        chosen: columns problem_id, heldout.
        min_problems: to train on, at least; one is needed in any case.

    Raises:
        UserError: there are fewer.
    """
    problems = chosen.filter(~pl.col("heldout"))["problem_id"].n_unique()
    if problems >= max(1, min_problems):
        return
    step = f" --set sft.min_problems={problems} trains on them all the same." if problems else ""
    raise UserError(
        f"sft: {problems:,} problems have a correct rollout to train on, and sft.min_problems "
        f"asks for {min_problems:,}",
        safe="problems and rollouts are kept, and nothing was trained",
        next_step="more rollouts.samples, more domain.train_problems or easier problems bring more "
        f"of them: qstar rollouts CONFIG --set rollouts.samples=32.{step}",
    )


def figures(chosen: pl.DataFrame) -> dict[str, int]:
    """What was selected: problems and solutions, trained on and held out, and their rollouts."""
    held = pl.col("heldout")
    trained, kept = chosen.filter(~held), chosen.filter(held)
    return {
        "problems": trained["problem_id"].n_unique(),
        "solutions": len(trained),
        "rollouts": int(trained["rollouts"].sum()),
        "heldout_problems": kept["problem_id"].n_unique(),
        "heldout_solutions": len(kept),
    }
