"""The work of the stages that search the held-out problems; see `qstar_core.jobs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.configuring.models import load_models
from qstar_core.domains.problem_table import read_problems
from qstar_core.finishing import Receipt, Spec, finish
from qstar_core.loading import told
from qstar_core.search.budget import Budget
from qstar_core.stage import SWEEPS

Progress = Callable[[int, int, str, str], None]

UNLIMITED = 1_000_000
"""Policy tokens, value calls and expansions per problem where seconds are the limit: no search gets
there."""


def evaluation(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Runs one search method on a range of held-out problems."""
    method = config.evaluation.methods[spec["method"]]
    table, figures = _search(spec, config, method, None, progress)
    return finish(spec, {f"part-{spec['shard']}": table}, figures)


def sweep(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Runs one search method at one budget of a sweep on a range of held-out problems."""
    method, limits = config.compared().methods[spec["method"]], config.evaluation
    amount, others = spec["budget"], (limits.max_value_calls, limits.max_expansions)
    timed = SWEEPS[spec["stage"]] == "seconds"
    budget = Budget(UNLIMITED, UNLIMITED, UNLIMITED, amount) if timed else Budget(amount, *others)
    table, figures = _search(spec, config, method, budget, progress)
    column = pa.field("budget", pa.float64(), nullable=False)
    place = table.schema.get_field_index("algorithm") + 1
    table = table.add_column(place, column, pa.array([float(amount)] * len(table)))
    return finish(spec, {f"part-{spec['shard']}": table}, {**figures, "budget": amount})


def _search(
    spec: Spec, config: RunConfig, method: SearchConfig, budget: Budget | None, progress: Progress
) -> tuple[pa.Table, dict[str, Any]]:
    """The searches of a shard with their figures."""
    from qstar_core.configuring.evaluate import evaluate_adaptive
    from qstar_core.evaluation.run import evaluate

    chosen = read_problems(spec["inputs"]["problems"], "test")[spec["start"] : spec["stop"]]
    models = load_models(spec, config, [method])
    policy, value, prm = models.policy, models.value, models.prm
    if method.algorithm == "adaptive":
        table, figures = evaluate_adaptive(chosen, method, models, config, spec, progress, budget)
    else:
        table, figures = evaluate(chosen, method, policy, value, config, progress, prm, budget)
    return table, figures | told(policy, config.policy)
