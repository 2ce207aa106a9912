"""The stages of a run up to its labels: problems, rollouts, pools, labels, with their run keys.

Between the labels of several rounds of fitted Q iteration stand the Q-value models of the rounds
before, so the training of one is here too. `qstar_core.planning` has the rest of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstar_core.config import PolicyConfig, PoolConfig, RunConfig
from qstar_core.domains import DOMAINS, problem_sets
from qstar_core.errors import UserError
from qstar_core.policies import scoring
from qstar_core.policies.identity import backbone, identity
from qstar_core.policies.served import addresses
from qstar_core.policies.steps import step_rule
from qstar_core.prm_stages import add_prm
from qstar_core.rollouts import import_file
from qstar_core.stage import Stage, add
from qstar_core.store import open_store

DECODING = 2
"""Version of the order of sums in policies/decoding; it shapes samples below float64."""
WHOLE_STEPS = 2
"""Version of what is a whole step where steps are so many tokens; it shapes pools of searches."""
ON_POLICY = ("states", "binary_search")
"""Kinds of pools whose samples labels take for those of the policy of the rollouts."""


def up_to_the_labels(config: RunConfig, judged: bool, alone: bool = False) -> dict[str, Stage]:
    """The problems and, unless the models are given, all stages up to the last labels.

    Args:
        config: of the run.
        judged: whether it trains a process reward model; its stages come before the labels.
        alone: whether nothing is wanted but that.
    """
    open_store(config.out).check("out")
    addresses(config.policy.server)  # of every backend: they are written into specifications
    if "leakage" not in config.qvm.allow:
        problem_sets.check_disjoint(config.domain)
    domain, stages = config.domain, dict[str, Stage]()
    test = problem_sets.shape(domain, "test", config.seed)
    imported = _imported(config)
    if imported:
        train = {"domain": domain.name, "split": "train", **imported}
        train |= problem_sets.leaves_out(domain, "train")
    else:
        train = problem_sets.shape(domain, "train", config.seed)
    add(stages, config.out, "problems", {"train": train, "test": test, **imported})
    made_from, pools = dict[str, Any](), list[str]()
    valued = config.qvm.path is None and not alone
    if valued or (judged and config.prm.annotations is None):
        rollouts = {"problems": train, **(imported or _sampling(config))}
        add(stages, config.out, "rollouts", rollouts, "problems")
        pools = [_add_pool(stages, config, pool) for pool in config.pools]
        made_from = {"rollouts": stages["rollouts"].key, "grader": grader(config)}
        made_from |= {"pools": [stages[name].key for name in pools]} if pools else {}
    if judged:
        add_prm(stages, config, made_from, pools)
    if valued:
        _add_rounds(stages, config, made_from, pools)
    return stages


def _imported(config: RunConfig) -> dict[str, str]:
    """What decides imported rollouts: the file's content; empty where they are sampled."""
    file = config.rollouts.import_file
    return {} if file is None else {"import_file": import_file.sha256(file)}


def _sampling(config: RunConfig) -> dict[str, Any]:
    """What decides sampled rollouts besides their problems."""
    problem_sets.need(config.domain, "train", "to sample from")
    sampling = {"policy": identity(config.policy), "seed": config.seed, **config.rollouts.rows()}
    return {**sampling, **policy_shape(config.policy)}


def _add_pool(stages: dict[str, Stage], config: RunConfig, pool: PoolConfig) -> str:
    """The stage of a pool.

    The grader is in its key where outcomes decide what is sampled, and in no other key of samples.
    How it is sampled is in the key of the rollouts, but where these are imported.

    Raises:
        UserError: the pool would continue imported rollouts as if its policy had made them.
    """
    imported = config.rollouts.import_file is not None
    if imported and pool.kind in ON_POLICY:
        raise _two_policies(pool)
    own = pool.policy or config.policy
    try:
        addresses(own.server)
        policy = identity(own)
    except UserError as error:
        what = f"{pool.stage}: {error.what}"
        raise UserError(what, safe=error.safe, next_step=error.next_step) from error
    rows = {"rollouts": stages["rollouts"].key, "policy": policy, **pool.rows()}
    if imported:
        rows = {**_pool_sampling(config), **rows}
    if pool.kind == "mcts" and step_rule(config.domain.name).tokens:
        rows["whole_steps"] = WHOLE_STEPS
    if pool.by_outcome:
        rows["grader"] = grader(config)
    add(stages, config.out, pool.stage, {**rows, **policy_shape(own)}, "problems", "rollouts")
    return pool.stage


def _pool_sampling(config: RunConfig) -> dict[str, Any]:
    """What decides samples of a pool that is otherwise in the key of the rollouts.

    The temperature is that of pools that have none of their own.
    """
    rollouts = config.rollouts
    shape = {"temperature": rollouts.temperature, "max_new_tokens": rollouts.max_new_tokens}
    return {"seed": config.seed, **shape}


def _two_policies(pool: PoolConfig) -> UserError:
    return UserError(
        f"{pool.stage}: a pool of kind {pool.kind} and the rollouts that it continues count as "
        "samples of one policy, and imported rollouts are samples of another one",
        next_step="take a pool of kind stronger, whose samples are kept apart: write "
        '"pools: [{kind: stronger, temperature: 1.0}]" and "labels: {method: stronger_policy}" '
        "into CONFIG; or leave this pool out",
    )


def _add_rounds(
    stages: dict[str, Stage], config: RunConfig, made_from: Mapping[str, Any], pools: list[str]
) -> None:
    """The labels of each round of fitted Q iteration, and the Q-value models between them.

    Other methods have one round. The labels of the last are called labels, whatever its number.
    """
    _check_pool(config)
    rounds = config.labels.rounds if config.labels.method == "fitted_q" else 1
    before: list[str] = []
    for number in range(1, rounds + 1):
        ending = "" if number == rounds else f"_{number}"
        rows = {**made_from, **config.labels.of_round(number)}
        for name in before:
            rows |= {"qvm": stages[name].key, **scoring.labelling(config)}
        add(stages, config.out, f"labels{ending}", rows, "problems", "rollouts", *pools, *before)
        if ending:
            before = [add_qvm(stages, config, ending)]


def add_qvm(stages: dict[str, Stage], config: RunConfig, ending: str) -> str:
    """The training of the Q-value model on the labels of a round."""
    labels, qvm = f"labels{ending}", f"qvm{ending}"
    _, start = backbone(config)
    seed = config.qvm.seed_of(config.seed)
    fit = {"labels": stages[labels].key, "backbone": start, "seed": seed}
    add(stages, config.out, qvm, {**scoring.training(config.qvm), **fit}, "problems", labels)
    return qvm


def _check_pool(config: RunConfig) -> None:
    """Refuses a method of labelling whose pool is missing."""
    from qstar_core.labels import POOL_OF

    method = config.labels.method
    kind = POOL_OF.get(method)
    if kind is None or kind in [pool.kind for pool in config.pools]:
        return
    raise UserError(
        f"labels.method: {method} is computed from a pool of kind {kind}, and there is none",
        next_step=f'write "pools: [{{kind: {kind}}}]" into CONFIG and run again; see docs/pools.md',
    )


def policy_shape(policy: PolicyConfig) -> dict[str, Any]:
    """What else decides a sample below float64, where results depend on the batch's shape.

    Servers make their batches themselves.
    """
    if policy.dtype == "float64" or policy.backend == "server":
        return {}
    shape: dict[str, Any] = {"device": policy.device, "batch_size": policy.batch_size}
    return shape | ({"decoding": DECODING} if policy.backend == "transformers" else {})


def grader(config: RunConfig) -> list[str]:
    """Name and version of what grades."""
    domain = DOMAINS[config.domain.name]
    return [domain.GRADER, domain.GRADER_VERSION]
