"""The stages of a run and of a comparison, and their run keys.

A run key hashes the fields of the configuration that can change a row, the identity of the
inputs, and the version of the code that shapes the rows (`ROWS_VERSION`, raised by hand when a
stage would give other rows for the same configuration). All keys are known before anything runs.
Nothing here imports torch.

The stage ``timing`` searches under a limit of seconds: its key has the machine and how it is used
(`_speed`) as well, but the machine gives other rows when it is busy, or with other packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qstar_core import environment
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.domains import DOMAINS, problem_sets
from qstar_core.keys import content_id
from qstar_core.policies import scoring
from qstar_core.policies.checkpoint import backbone, identity
from qstar_core.policies.served import addresses
from qstar_core.rollouts import import_file
from qstar_core.store import open_store
from qstar_core.store.uri import join

ROWS_VERSION = {
    "problems": 1,
    "rollouts": 1,
    "labels": 1,
    "qvm": 1,
    "evaluation": 3,
    "report": 1,
    "comparison": 2,
    "timing": 2,
    "comparison_report": 1,
}
MERGING_VERSION = 2
"""Of the rows of methods with ``merge: state``, beside `ROWS_VERSION`."""
COMMANDS = {
    "problems": "rollouts",
    "rollouts": "rollouts",
    "labels": "label",
    "qvm": "train-qvm",
    "evaluation": "evaluate",
    "report": "report",
    "comparison": "compare",
    "timing": "compare",
    "comparison_report": "compare",
}
DECODING = 2
"""Version of the order of sums in policies/decoding; it shapes samples below float64."""
SWEEPS = {"comparison": "tokens", "timing": "seconds"}
"""Stages that search over a sweep of budgets, and the field with their budgets."""

TO_EVALUATE = ("to evaluate on", "; qstar train-qvm CONFIG and the stages before it need none")


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: a key of `ROWS_VERSION`.
        key: its run key.
        uri: folder of its data set.
        inputs: folders of the data sets it reads, by stage name.
        rows: what the key hashes.
    """

    name: str
    key: str
    uri: str
    inputs: dict[str, str]
    rows: dict[str, Any]


def plan(config: RunConfig, until: str | None = None) -> dict[str, Stage]:
    """The stages of a run in order; those that train a QVM are left out if one is given.

    Args:
        config: of the run.
        until: the last stage wanted. Where rollouts are imported or nothing is held out, what
            only later stages need (the policy, held-out problems) is not asked for then, and
            they are left out.

    Raises:
        UserError: a checkpoint or problem file is missing or malformed, or the output folder
            cannot be written, or its bucket not be reached.
    """
    stages = _up_to_the_labels(config)
    partial = config.rollouts.import_file is not None or not problem_sets.count(
        config.domain, "test"
    )
    if partial and until in stages:
        return stages
    search = _add_the_value_model(stages, config)
    if partial and until in stages:
        return stages
    problem_sets.need(config.domain, "test", *TO_EVALUATE)
    reads = _of_searches(stages)
    search |= _of_methods(config, config.evaluation.methods)
    _add(stages, config, "evaluation", {**search, **config.evaluation.rows()}, *reads)
    trees = config.evaluation.report_trees
    shown = {"evaluation": stages["evaluation"].key, "trees": trees, "name": config.name}
    _add(stages, config, "report", shown, "evaluation", *reads)
    return stages


def plan_comparison(config: RunConfig) -> dict[str, Stage]:
    """The stages of ``qstar compare`` in order: those of a run up to the Q-value model, then ours.

    They are comparison (the sweep over policy tokens), timing (that over seconds, if asked for)
    and comparison_report. What only the figures go by - baseline, correction, bootstrap samples -
    and the price of a token are part of the key of the report alone, which has these figures.

    Raises:
        UserError: as `plan`.
    """
    stages = _up_to_the_labels(config)
    search = _add_the_value_model(stages, config)
    problem_sets.need(config.domain, "test", *TO_EVALUATE)
    reads = _of_searches(stages)
    chosen = config.compared().rows()
    del chosen["max_policy_tokens"]
    judged = {name: chosen.pop(name) for name in ("baseline", "bootstrap_samples")}
    judged["correction"] = config.comparison.correction
    search |= _of_methods(config, config.compared().methods)
    search |= chosen
    found = []
    for name, budgets in SWEEPS.items():
        if asked := getattr(config.comparison, budgets):
            pace = _speed(config) if name == "timing" else {}
            _add(stages, config, name, {**search, budgets: list(asked), **pace}, *reads)
            found.append(name)
    price = config.comparison.price_per_million_tokens
    shown = {**{name: stages[name].key for name in found}, **judged}
    shown |= {"price": price, "name": config.name}
    _add(stages, config, "comparison_report", shown, *found, *reads)
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
        "prm_shape": [prm.batch_size, prm.cache_mb],
    }


def _add(
    stages: dict[str, Stage], config: RunConfig, name: str, rows: dict[str, Any], *inputs: str
) -> None:
    rows = {"stage": name, "rows_version": ROWS_VERSION[name], **rows}
    key = content_id(rows)
    read = {i: stages[i].uri for i in inputs}
    stages[name] = Stage(name, key, join(config.out, f"{name}/{key}"), read, rows)


def _up_to_the_labels(config: RunConfig) -> dict[str, Stage]:
    """The problems and, unless a value model is given, the rollouts and their labels."""
    open_store(config.out).check("out")
    addresses(config.policy.server)  # of every backend: they are written into specifications
    domain, stages = config.domain, dict[str, Stage]()
    test = problem_sets.shape(domain, "test", config.seed)
    imported = _imported(config)
    if imported:
        train = {"domain": domain.name, "split": "train", **imported}
        train |= problem_sets.leaves_out(domain, "train")
    else:
        train = problem_sets.shape(domain, "train", config.seed)
    _add(stages, config, "problems", {"train": train, "test": test, **imported})
    if config.qvm.path is None:
        rollouts = {"problems": train, **(imported or _sampling(config))}
        _add(stages, config, "rollouts", rollouts, "problems")
        grader = _grader(config)
        labels = {"rollouts": stages["rollouts"].key, "grader": grader, **config.labels.rows()}
        _add(stages, config, "labels", labels, "problems", "rollouts")
    return stages


def _imported(config: RunConfig) -> dict[str, str]:
    """What decides imported rollouts: the file's content; empty where they are sampled."""
    file = config.rollouts.import_file
    return {} if file is None else {"import_file": import_file.sha256(file)}


def _sampling(config: RunConfig) -> dict[str, Any]:
    """What decides sampled rollouts besides their problems."""
    problem_sets.need(config.domain, "train", "to sample from")
    sampling = {"policy": identity(config.policy), "seed": config.seed, **config.rollouts.rows()}
    return {**sampling, **_policy_shape(config)}


def _add_the_value_model(stages: dict[str, Stage], config: RunConfig) -> dict[str, Any]:
    """Adds the training of a value model unless one is given.

    Returns:
        What decides a search but its methods and limits.
    """
    policy = identity(config.policy)
    if config.qvm.path is None:
        _, start = backbone(config)
        fit = {"labels": stages["labels"].key, "backbone": start, "seed": config.seed}
        _add(stages, config, "qvm", {**fit, **scoring.training(config.qvm)}, "problems", "labels")
        value = stages["qvm"].key
    else:
        value = scoring.given_value(config.qvm)
    problems = problem_sets.shape(config.domain, "test", config.seed)
    search = {"policy": policy, "qvm": value, "seed": config.seed, "problems": problems}
    search |= {"max_new_tokens": config.rollouts.max_new_tokens, **_policy_shape(config)}
    search |= scoring.scoring(config)
    return {**search, "grader": _grader(config)}


def _of_methods(config: RunConfig, methods: Sequence[SearchConfig]) -> dict[str, Any]:
    """What else decides the rows of some methods: the process reward model, and how they merge."""
    merging = any(method.merge == "state" for method in methods)
    version = {"merging": MERGING_VERSION} if merging else {}
    return {**scoring.rewarding(config, methods), **version}


def _of_searches(stages: dict[str, Stage]) -> list[str]:
    return ["problems", *(["qvm"] if "qvm" in stages else [])]


def _policy_shape(config: RunConfig) -> dict[str, Any]:
    """What else decides a sample below float64, where results depend on the batch's shape.

    Servers make their batches themselves.
    """
    policy = config.policy
    if policy.dtype == "float64" or policy.backend == "server":
        return {}
    shape: dict[str, Any] = {"device": policy.device, "batch_size": policy.batch_size}
    return shape | ({"decoding": DECODING} if policy.backend == "transformers" else {})


def _grader(config: RunConfig) -> list[str]:
    domain = DOMAINS[config.domain.name]
    return [domain.GRADER, domain.GRADER_VERSION]
