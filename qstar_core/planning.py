"""The stages of a run and of a comparison, and their run keys.

A run key hashes the fields of the configuration that can change a row, the identity of the
inputs, and the version of the code that shapes the rows (`ROWS_VERSION`, raised by hand when a
stage would give other rows for the same configuration). All keys are known before anything runs.
Nothing here imports torch.

The stage ``timing`` searches under a limit of seconds: its key has the machine and how it is used
(`_speed`) as well, but the machine gives other rows when it is busy, or with other packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qstar_core import environment
from qstar_core.adaptive_stages import ADAPTIVE, EPISODES, add_adaptive, needs_q, section
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.config_adaptive import expanded
from qstar_core.domains import problem_sets
from qstar_core.errors import UserError
from qstar_core.label_stages import add_qvm, grader, policy_shape, up_to_the_labels
from qstar_core.policies import scoring
from qstar_core.policies.checkpoint import check_made
from qstar_core.policies.identity import identity, sft_base
from qstar_core.prm_stages import FROM_FILE, FROM_ROLLOUTS, trains, value_holdouts
from qstar_core.stage import SWEEPS, Stage, add, kind_of

MERGING_VERSION = 2
"""Of the rows of methods with ``merge: state``, beside `ROWS_VERSION`."""
ROUND = ("labels", "qvm")
"""Kinds of which fitted Q iteration has one stage per round."""
BEFORE_TRAINING = ("problems", "rollouts", "labels")
"""Stages that need no model to start from."""
OF_VALUE = ("rollouts", "pool", "labels", "qvm", "prm")
"""Stages that a run has for its value models alone."""
ADAPTING = (EPISODES, ADAPTIVE)
TO_EVALUATE = ("to evaluate on", "; qstar train-qvm CONFIG and the stages before it need none")


def plan(config: RunConfig, until: str | None = None) -> dict[str, Stage]:
    """The stages of a run in order; those that train a QVM or PRM are left out if one is given.

    Args:
        config: of the run.
        until: the last stage wanted. Where rollouts are imported, nothing is held out or the
            policy has no weights to train from, what only later stages need (the policy,
            held-out problems) is not asked for then, and they are left out. Before ``prm`` is
            nothing that a reward model is not made from.

    Raises:
        UserError: a checkpoint or problem file is missing or malformed, or the output folder
            cannot be written, or its bucket not be reached.
    """
    _check_made(config)
    return plan_round(config, until)


def _check_made(config: RunConfig) -> None:
    """Refuses fine-tuned policies that are not there, before anything is sampled with others."""
    named = {
        "policy.path": config.policy.path,
        "qvm.init": config.qvm.init,
        "prm.init": config.prm.init,
        "sft.base": config.sft.base,
    }
    for field, path in named.items():
        if path is not None:
            check_made(path, field)


def plan_round(config: RunConfig, until: str | None = None) -> dict[str, Stage]:
    """As `plan`, where the policy is perhaps one that a round before has still to make."""
    nothing_to_train = config.policy.without_weights and config.qvm.init is None
    partial = (
        config.rollouts.import_file is not None
        or not problem_sets.count(config.domain, "test")
        or (nothing_to_train and config.qvm.path is None)
    )
    methods = config.evaluation.methods
    inner = section(config).searches() if until in ADAPTING else []
    judged = trains(config, inner or asked_of(config, methods), until)
    judged = judged and not (partial and until in BEFORE_TRAINING)
    alone = until == "prm" or not _valued(config, methods, until)
    stages = up_to_the_labels(config, judged, alone=alone)
    if until == "prm" or (partial and until in stages):
        return stages
    search = _add_the_value_model(stages, config, _valued(config, methods, until))
    if partial and until in stages:
        return stages
    reads = _add_adaptive(stages, config, search)
    if until in ADAPTING:
        return stages
    problem_sets.need(config.domain, "test", *TO_EVALUATE)
    _add_evaluation(stages, config, search, reads)
    return stages


def _add_evaluation(
    stages: dict[str, Stage], config: RunConfig, search: dict[str, Any], reads: list[str]
) -> None:
    """Adds the evaluation and its report."""
    methods = config.evaluation.methods
    given = {**search, "problems": problem_sets.shape(config.domain, "test", config.seed)}
    given |= _of_methods(config, methods, stages)
    searched = expanded(methods, config.adaptive)
    inputs = [*_of_searches(stages, searched), *_of_adaptive(methods, reads)]
    add(stages, config.out, "evaluation", {**given, **config.evaluation.rows()}, *inputs)
    trees = config.evaluation.report_trees
    price = config.comparison.price_per_million_tokens
    shown = {"evaluation": stages["evaluation"].key, "trees": trees, "name": config.name}
    shown |= {} if price is None else {"price": price}
    add(stages, config.out, "report", shown, "evaluation", *inputs)


def asked_of(config: RunConfig, methods: Sequence[SearchConfig]) -> list[SearchConfig]:
    """Methods, and the searches that the section adaptive chooses among."""
    return [*methods, *(config.adaptive.searches() if config.adaptive is not None else [])]


def _valued(config: RunConfig, methods: Sequence[SearchConfig], until: str | None) -> bool:
    """Whether a run needs a Q-value model: for what it evaluates, or for a named stage."""
    if until in ADAPTING:
        return needs_q(config, section(config).searches())
    return until in OF_VALUE or needs_q(config, asked_of(config, methods))


def _add_adaptive(stages: dict[str, Stage], config: RunConfig, search: dict[str, Any]) -> list[str]:
    """Adds the stages of AdaReasoner where the run has its section; returns what they are."""
    if config.adaptive is None:
        return []
    inner = config.adaptive.searches()
    valued = needs_q(config, inner)  # no key of theirs has what they do not ask
    given = {**(search if valued else _shape(config)), **_of_methods(config, inner, stages)}
    left_out = ("problems",) if valued else ("problems", "qvm")
    models = [name for name in _of_searches(stages, inner) if name not in left_out]
    return add_adaptive(stages, config, given, models)


def _of_adaptive(methods: Sequence[SearchConfig], made: Sequence[str]) -> list[str]:
    """What adaptive methods read of the stages of AdaReasoner."""
    return list(made) if any(method.algorithm == "adaptive" for method in methods) else []


def plan_policy(config: RunConfig) -> dict[str, Stage]:
    """The stages of ``qstar train-policy`` in order: problems, rollouts, sft.

    Raises:
        UserError: as `plan`; or nothing is sampled, as qvm.path brings a Q-value model.
    """
    _check_made(config)
    stages = up_to_the_labels(config, judged=False)
    if "rollouts" not in stages:
        raise UserError(
            "sft: this run has no rollouts to train a policy on: qvm.path names a trained "
            "Q-value model",
            next_step="leave qvm.path out",
        )
    stages = {name: stages[name] for name in ("problems", "rollouts")}
    add_sft(stages, config)
    return stages


def add_sft(stages: dict[str, Stage], config: RunConfig) -> Stage:
    """Adds the fine-tuning of the policy on the rollouts of a run, which are among its stages."""
    decided = {
        "rollouts": stages["rollouts"].key,
        "base": sft_base(config)[1],
        "chat": config.policy.chat,
        "seed": config.seed,
        "grader": grader(config),
        "unseen": value_holdouts(config),
        **config.sft.rows(),
    }
    add(stages, config.out, "sft", decided, "problems", "rollouts")
    return stages["sft"]


def plan_comparison(config: RunConfig) -> dict[str, Stage]:
    """The stages of ``qstar compare`` in order: those of a run up to the Q-value model, then ours.

    They are comparison (the sweep over policy tokens), timing (that over seconds, if asked for)
    and comparison_report. What only the figures go by - baseline, correction, bootstrap samples -
    and the price of a token are part of the key of the report alone, which has these figures.

    Raises:
        UserError: as `plan`.
    """
    _check_made(config)
    methods = config.compared().methods
    valued = _valued(config, methods, None)
    trained = trains(config, asked_of(config, methods), None)
    stages = up_to_the_labels(config, trained, alone=not valued)
    search = _add_the_value_model(stages, config, valued)
    problem_sets.need(config.domain, "test", *TO_EVALUATE)
    adaptive = _add_adaptive(stages, config, search) if _of_adaptive(methods, [""]) else []
    reads = [*_of_searches(stages, expanded(methods, config.adaptive)), *adaptive]
    search["problems"] = problem_sets.shape(config.domain, "test", config.seed)
    chosen = config.compared().rows()
    del chosen["max_policy_tokens"]
    judged = {name: chosen.pop(name) for name in ("baseline", "bootstrap_samples")}
    judged["correction"] = config.comparison.correction
    search |= _of_methods(config, methods, stages)
    search |= chosen
    found = []
    for name, budgets in SWEEPS.items():
        if asked := getattr(config.comparison, budgets):
            pace = _speed(config) if name == "timing" else {}
            add(stages, config.out, name, {**search, budgets: list(asked), **pace}, *reads)
            found.append(name)
    price = config.comparison.price_per_million_tokens
    shown = {**{name: stages[name].key for name in found}, **judged}
    shown |= {"price": price, "name": config.name}
    add(stages, config.out, "comparison_report", shown, *found, *reads)
    return stages


def _speed(config: RunConfig) -> dict[str, Any]:
    """What decides how much is searched in a second; of the machine that plans."""
    policy, qvm, prm, chosen = config.policy, config.qvm, config.prm, config.evaluation
    return {
        "machine": environment.machine(),
        "device": policy.device,
        "threads": config.runtime.threads,
        "runner": config.runtime.runner,
        "searches": [chosen.active, chosen.shard_problems],
        "policy_batch_size": policy.batch_size,
        "qvm_shape": [qvm.score_batch_size, qvm.cache_mb],
        "prm_shape": [prm.score_batch_size, prm.cache_mb],
    }


def made_first(stages: dict[str, Stage], name: str) -> list[str]:
    """The stages that the command of a stage makes too.

    The problems, which take seconds; before the labels and the model of fitted Q iteration the
    rounds before; the labels of a process reward model.
    """
    if name in ("rollouts", "evaluation"):
        return ["problems"]
    if name == ADAPTIVE:
        return ["problems", *([EPISODES] if EPISODES in stages else [])]
    if name == "prm":
        return ["problems", FROM_FILE] if FROM_FILE in stages else [FROM_ROLLOUTS]
    rounds = [n for n in stages if n.rpartition("_")[2].isdigit() and kind_of(n) in ROUND]
    if name == "qvm":
        return [*rounds, "labels"] if rounds else []
    return rounds if name == "labels" else []


def _add_the_value_model(
    stages: dict[str, Stage], config: RunConfig, valued: bool
) -> dict[str, Any]:
    """Adds the training of a value model unless one is given, or none is asked.

    Returns:
        What decides a search but its methods, its limits and its problems.
    """
    if not valued:
        return _shape(config)
    if config.qvm.path is None:
        add_qvm(stages, config, "")
        value = stages["qvm"].key
    else:
        value = scoring.given_value(config.qvm)
    return {**_shape(config), "qvm": value, **scoring.scoring(config)}


def _shape(config: RunConfig) -> dict[str, Any]:
    """What decides a search that asks no model but the policy."""
    shape = {"policy": identity(config.policy), "seed": config.seed, "grader": grader(config)}
    return {
        **shape,
        "max_new_tokens": config.rollouts.max_new_tokens,
        **policy_shape(config.policy),
    }


def _of_methods(
    config: RunConfig, methods: Sequence[SearchConfig], stages: Mapping[str, Stage]
) -> dict[str, Any]:
    """What else decides the rows of some methods: the process reward model, and how they merge."""
    inner = expanded(methods, config.adaptive)
    merging = any(method.merge == "state" for method in inner)
    version: dict[str, Any] = {"merging": MERGING_VERSION} if merging else {}
    trained = stages["prm"].key if "prm" in stages else None
    if any(method.algorithm == "adaptive" for method in methods):
        version["adaptive"] = stages[ADAPTIVE].key
    return {**scoring.rewarding(config, inner, trained), **version}


def _of_searches(stages: Mapping[str, Stage], methods: Sequence[SearchConfig]) -> list[str]:
    """What searches read; annotations to make sure that no test problem is among them."""
    judged = any(method.reward == "prm" for method in methods)
    read = ["problems", "qvm", *(["prm", FROM_FILE] if judged else [])]
    return [name for name in read if name in stages]
