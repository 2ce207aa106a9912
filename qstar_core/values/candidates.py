"""Q of the actions that are stored in paths, for the targets of fitted Q iteration.

Only actions after the first step are asked for: no label looks at the value of a first one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import polars as pl

from qstar_core.values import ValueModel

SCHEMA = {"action_id": pl.String, "value": pl.Float64}
CHUNK = 4096  # actions scored in one call, those of the last problem included


def candidate_values(
    paths: pl.LazyFrame,
    prompts: Mapping[str, str],
    value: ValueModel,
    wanted: Collection[str],
    done: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """Scores stored actions that follow a first step.

    Args:
        paths: with the columns problem_id and steps, those of one problem in any order.
        prompts: prompt text by problem id.
        value: the Q-value model.
        wanted: ids of the actions to be scored.
        done: called with the number of actions scored since the last call.

    Returns:
        Columns action_id and value in [0, 1], one row per action, in the order of the problems and
        in that in which the actions first come. The same text counts once, whether or not the
        policy ended there, as it was first stored.
    """
    by_problem = paths.select("problem_id", "steps").collect()
    found: dict[str, float] = {}
    waiting: dict[str, tuple[str, bool]] = {}

    def score() -> None:
        texts, ended = [t for t, _ in waiting.values()], [e for _, e in waiting.values()]
        found.update(zip(waiting, value.score(texts, ended), strict=True))
        if done is not None:
            done(len(waiting))
        waiting.clear()

    for (problem_id,), rows in by_problem.group_by("problem_id", maintain_order=True):
        for steps in rows["steps"].to_list():
            text = prompts[str(problem_id)]
            for place, step in enumerate(steps):
                text += step["text"]
                if place and step["action_id"] in wanted:
                    waiting.setdefault(step["action_id"], (text, step["ended"]))
        if len(waiting) >= CHUNK:
            score()
    if waiting:
        score()
    return pl.DataFrame({"action_id": list(found), "value": list(found.values())}, schema=SCHEMA)
