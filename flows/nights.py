"""A night as far as it gets: all stages, or at least an evaluation with the last night's models.

Part of the budget is kept for the evaluation from the start: the tokens that its engine may draw,
by the estimate, and the time that it took the last time. If a stage before it fails or the budget
ends, the night evaluates with the Q-value model (and the process reward model) of the last record,
publishes that, and says in its record why it is not whole.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, field, replace
from typing import Any

from flows.stages import LAST, Workshop
from qstar_core import partitions, pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.pipeline import Stage

log = logging.getLogger("qstar_core.nights")

NIGHTLY = "nightly"
MODELS = ("qvm", "prm")


@dataclass
class Made:
    """What a run of a partition has.

    Attributes:
        manifests: by stage; of later rounds of expert iteration by its label.
        note: why stages are missing; empty where none is.
    """

    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    note: str = ""


def night(shop: Workshop, day: datetime.date) -> Made:
    """Makes every stage of a run, or falls back to an evaluation.

    Args:
        shop: of the run.
        day: its partition.

    Raises:
        UserError: the evaluation or the report fails, or there is no model to fall back to.
    """
    rounds = pipeline.rounds(shop.config)
    made = Made()
    keep_for_evaluation(shop, rounds[-1].stages, day)
    for each in rounds:
        its = replace(shop, config=each.config)
        for stage in each.stages.values():
            try:
                made.manifests[each.label(stage.name)] = its.make(stage)
            except UserError as error:
                if stage.kind in LAST or len(rounds) > 1:
                    raise
                return evaluate_at_least(shop, day, error)
    whole = pipeline.summary(shop.config)
    if whole is not None:
        made.manifests[whole.name] = shop.make(whole)
    return made


def keep_for_evaluation(shop: Workshop, stages: dict[str, Stage], day: datetime.date) -> None:
    """Sets tokens and seconds of the evaluation aside, unless it is published."""
    stage, config = stages["evaluation"], shop.config
    if pipeline.published(stage) is not None:
        return
    tokens = pipeline.drawn_tokens(stage, config)
    where = config.out, config.name, NIGHTLY
    last = partitions.latest(*where, "evaluation", until=day, made=True)
    shop.budget.keep(tokens, float(last["seconds"]) if last else 0.0)


def evaluate_at_least(shop: Workshop, day: datetime.date, error: UserError) -> Made:
    """Evaluates with the models of the last record instead of those of this night.

    Raises:
        UserError: ``error``, where there are none, or the evaluation fails too, which it then says.
    """
    config = with_last_models(shop.config, day)
    if config is None:
        raise error
    log.warning("%s", error.what)
    log.warning("evaluating with %s instead", config.qvm.path)
    shop.budget.give_back()
    its = replace(shop, config=config)
    try:
        manifests = {name: its.make(stage) for name, stage in pipeline.plan(config).items()}
    except UserError as second:  # what failed first is what has to be mended
        error.what = f"{error.what}; then, evaluating with {config.qvm.path}: {second.what}"
        raise error from second
    return Made(manifests, f"{error.what}; evaluated with {config.qvm.path}")


def with_last_models(config: RunConfig, day: datetime.date) -> RunConfig | None:
    """The configuration with the models of its last record until a day; None if one is missing."""
    needed = [name for name in MODELS if name in pipeline.plan(config)]
    changes = {}
    for name in needed:
        last = partitions.latest(config.out, config.name, NIGHTLY, name, until=day)
        if last is None:
            return None
        section = getattr(config, name)
        changes[name] = section.model_copy(update={"path": last["uri"]})
    return config.model_copy(update=changes) if "qvm" in changes else None
