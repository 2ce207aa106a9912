"""What a stage will take, before it runs: shards, units of work, policy tokens."""

from __future__ import annotations

from typing import Any

from qstar_core.config import RunConfig
from qstar_core.domains import problem_sets
from qstar_core.rollouts.pool_size import largest
from qstar_core.sharding import Spec, count, methods, parts
from qstar_core.stage import Stage
from qstar_core.store import dataset

SEVERAL_SAMPLES = ("algorithm", "n", "k", "width", "max_policy_tokens")
"""Factors under which an episode may be more than one sample."""


def estimate(stage: Stage, config: RunConfig) -> dict[str, Any]:
    """What a stage will take: shards, units of work and policy tokens (an upper estimate)."""
    train, test = (count(stage, config, split) for split in ("train", "test"))
    rollouts = train * config.rollouts.samples
    known, unit = (train + test, "problems"), "rollouts"
    if config.rollouts.import_file is not None:
        rollouts, known = _imported_rollouts(stage), (1, "file")
        unit = "rollouts" if rollouts else "uncounted rollouts"
    searches = test * len(methods(stage, config))
    sizes: dict[str, tuple[int, str]] = {
        "problems": known,
        "rollouts": (rollouts, unit),
        "pool": _pool_units(stage, config, train),
        "labels": (rollouts, unit),
        "qvm": (round(rollouts * config.qvm.epochs), "trajectories"),
        "annotations": (1, "file"),
        "prm": _prm_units(stage, rollouts, config),
        "sft": (train, "problems"),
        "episodes": (train * _tries(config), "episodes"),
        "adaptive": (_learnt(config), "episodes"),
        "rounds": (1, "table"),
        "evaluation": (searches, "searches"),
        "comparison": (searches * len(config.comparison.tokens), "searches"),
        "timing": (searches * len(config.comparison.seconds), "searches"),
        "report": (1, "report"),
        "comparison_report": (1, "report"),
    }
    units, unit = sizes[stage.kind]
    cut = parts(stage, config)
    tokens = sum(shard_tokens(stage, config, part) for part in cut)
    return {"shards": len(cut), "units": units, "unit": unit, "policy_tokens": tokens}


def _tries(config: RunConfig) -> int:
    """Logged episodes of a training question."""
    adaptive = config.adaptive
    if adaptive is None:
        return 0
    return adaptive.size if adaptive.logged == "all" else adaptive.logged


def _learnt(config: RunConfig) -> int:
    """Episodes of all learners."""
    adaptive = config.adaptive
    return 0 if adaptive is None else adaptive.episodes * len(adaptive.learners())


def _episode_tokens(config: RunConfig, rollout: float) -> float:
    """Policy tokens of an episode at most."""
    adaptive = config.adaptive
    if adaptive is None:
        return 0
    limit = adaptive.max_policy_tokens or config.evaluation.max_policy_tokens
    single = adaptive.method.n == 1 and not set(adaptive.names) & set(SEVERAL_SAMPLES)
    return min(rollout, limit) if single else limit


def _prm_units(stage: Stage, rollouts: int, config: RunConfig) -> tuple[int, str]:
    """Trajectories that training passes through; how many a file has is not known before."""
    if config.prm.annotations is not None:
        manifest = dataset.read_manifest(stage.inputs["annotations"]) if stage.inputs else None
        read = (manifest or {}).get("figures", {}).get("import", {})
        rollouts = int(read.get("solutions", 0))
    return round(rollouts * config.prm.epochs), "trajectories" if rollouts else "uncounted"


def _pool_units(stage: Stage, config: RunConfig, problems: int) -> tuple[int, str]:
    """Samples or searches of a pool at most, and their unit."""
    units, _ = _largest(stage, config)
    mcts = any(pool.kind == "mcts" for pool in config.pools if pool.stage == stage.name)
    return problems * units, "searches" if mcts else "rollouts"


def _largest(stage: Stage, config: RunConfig) -> tuple[int, int]:
    """Samples and policy tokens of a pool per problem, at most; 0 where the stage is none."""
    for pool in config.pools:
        if pool.stage == stage.name:
            size = problem_sets.left_tokens(config.domain, config.rollouts.max_new_tokens)
            rollouts = config.rollouts.samples
            if config.rollouts.import_file is not None:  # as many as a problem has on average
                rollouts = -(-_imported_rollouts(stage) // max(1, count(stage, config, "train")))
            return largest(pool, rollouts, *size)
    return 0, 0


def shard_tokens(stage: Stage, config: RunConfig, part: Spec) -> int:
    """Policy tokens that a shard will generate, an upper estimate.

    How many a search under a limit of seconds generates is not known; they count as 0.

    Args:
        stage: which it is a shard of.
        config: of the run.
        part: its specification.
    """
    problems = part.get("stop", 0) - part.get("start", 0)
    if stage.kind == "pool":
        return int(problems * _largest(stage, config)[1])
    rollout = problem_sets.expected_tokens(config.domain, config.rollouts.max_new_tokens)
    if stage.kind == "episodes":
        return int(problems * _tries(config) * _episode_tokens(config, rollout))
    if stage.kind == "adaptive" and config.adaptive is not None:
        online = config.adaptive.source == "online"
        return int(online * config.adaptive.episodes * _episode_tokens(config, rollout))
    if stage.name == "rollouts" and config.rollouts.import_file is None:
        return int(problems * config.rollouts.samples * rollout)
    if stage.name not in ("evaluation", "comparison"):
        return 0
    method = methods(stage, config)[part["method"]]
    budget = part.get("budget", config.evaluation.max_policy_tokens)
    if method.algorithm == "adaptive":
        tries = config.adaptive.size if config.adaptive and method.choose == "oracle" else 1
        return int(problems * tries * min(_episode_tokens(config, rollout), budget))
    return int(problems * (min(rollout, budget) if method.algorithm == "greedy" else budget))


def drawn_tokens(stage: Stage, config: RunConfig) -> int:
    """Policy tokens that the engine will draw for an evaluation, an upper estimate.

    More than the searches are charged: the last samples of a search may not fit its own budget;
    they are dropped, but were drawn and paid for.
    """
    from qstar_core.search.rounds import FIRST_ROUND

    test, total = count(stage, config, "test"), estimate(stage, config)["policy_tokens"]
    limits = config.evaluation
    whole = min(config.rollouts.max_new_tokens, limits.max_policy_tokens)
    step = min(limits.max_step_tokens, whole)
    for method in methods(stage, config):
        if method.algorithm != "greedy":
            total += test * max(FIRST_ROUND * whole, method.k * method.width * step)
    return int(total)


def _imported_rollouts(stage: Stage) -> int:
    """Samples of the imported file; 0 before it is read."""
    manifest = dataset.read_manifest(stage.inputs.get("problems", stage.uri)) or {}
    return int(manifest.get("figures", {}).get("import", {}).get("samples", 0))
