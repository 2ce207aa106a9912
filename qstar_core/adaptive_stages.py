"""The stages of AdaReasoner: ``episodes``, tried at random, and ``adaptive``, what learns.

Only runs with the section adaptive have them. Their searches ask the Q-value model and the process
reward model where the settings that are chosen do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qstar_core.adaptive.actions import space_of
from qstar_core.adaptive.identity import encoder_fingerprint, reward_model_fingerprint
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.config_adaptive import AdaptiveConfig, asks_q, expanded
from qstar_core.domains import problem_sets
from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import identity
from qstar_core.policies.served import addresses
from qstar_core.stage import Stage, add

EPISODES, ADAPTIVE = "episodes", "adaptive"
OF_EPISODES = ("logged", "reward", "max_policy_tokens")
"""Fields that decide an episode, besides space and method."""
OF_MODELS = ("judge", "judge_tokens", "reward_model", "embedding", "factors", "template")
"""Fields that are in the keys by what they name."""


def needs_q(config: RunConfig, methods: Sequence[SearchConfig]) -> bool:
    """Whether some methods need the Q-value model; without the section adaptive all get it."""
    return config.adaptive is None or any(map(asks_q, expanded(methods, config.adaptive)))


def section(config: RunConfig) -> AdaptiveConfig:
    """The section adaptive.

    Raises:
        UserError: the configuration has none.
    """
    if config.adaptive is None:
        raise UserError(
            "the configuration has no section adaptive, so there is no policy to train",
            next_step='write "adaptive: {}" into CONFIG for the paper\'s space; docs/adaptive.md '
            "has the fields",
        )
    return config.adaptive


def embedding_of(config: RunConfig) -> Path:
    """The checkpoint that embeds the questions.

    Raises:
        UserError: it is missing, or the policy has no weights that could.
    """
    path = section(config).embedding
    if path is not None:
        return resolve_checkpoint(path, "adaptive.embedding")
    if config.policy.without_weights:
        raise UserError(
            f"adaptive.embedding: a policy with backend {config.policy.backend} embeds no question",
            next_step="name a folder or a hub name, such as sentence-transformers/all-MiniLM-L6-v2",
        )
    return resolve_checkpoint(config.policy.path, "policy.path")


def add_adaptive(
    stages: dict[str, Stage], config: RunConfig, search: dict[str, Any], reads: Sequence[str]
) -> list[str]:
    """Adds the stages to those of a run.

    Args:
        stages: those before them.
        config: of the run, with the section adaptive.
        search: what decides a search but its method, its limits and its problems.
        reads: names of the stages of the models that the searches ask.

    Returns:
        What methods with ``algorithm: adaptive`` read.

    Raises:
        UserError: a model is missing, or there are no training problems.
    """
    adaptive, limits = section(config), config.evaluation
    if config.rollouts.import_file is None:
        problem_sets.need(config.domain, "train", "to learn from")
    rows = adaptive.rows()
    own = {
        **search,
        "train": stages["problems"].rows["train"],
        "space": space_of(adaptive).id,
        "method": adaptive.method.rows(),
        "limits": [
            adaptive.max_policy_tokens or limits.max_policy_tokens,
            limits.max_step_tokens,
            limits.max_value_calls,
            limits.max_expansions,
        ],
        "reward": adaptive.reward,
        "adaptive_seed": adaptive.seed_of(config.seed),
        **_judging(adaptive),
    }
    made = []
    if adaptive.logged:
        add(stages, config.out, EPISODES, {**own, "logged": adaptive.logged}, "problems", *reads)
        made = [EPISODES]
    learning = {n: v for n, v in rows.items() if n not in (*OF_EPISODES, *OF_MODELS, "method")}
    own["episodes"] = stages[EPISODES].key if made else None
    own |= {"learning": learning, "embedding": encoder_fingerprint(embedding_of(config))}
    add(stages, config.out, ADAPTIVE, own, "problems", *made, *reads)
    return [*made, ADAPTIVE]


def _judging(adaptive: AdaptiveConfig) -> dict[str, Any]:
    """The identity of what rewards, where it is a model."""
    if adaptive.reward == "model":
        folder = resolve_checkpoint(adaptive.reward_model or "", "adaptive.reward_model")
        return {"reward_model": reward_model_fingerprint(folder)}
    if adaptive.reward == "judge" and adaptive.judge is not None:
        addresses(adaptive.judge.server)
        judge = identity(adaptive.judge)
        return {"judge": judge, "judge_tokens": adaptive.judge_tokens}
    return {}
