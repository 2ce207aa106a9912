"""The fields of searches: one method, an evaluation at one budget, a comparison over budgets."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from qstar_core.config_section import Float, Section, runtime_only


class SearchConfig(Section):
    """One algorithm with its settings (arXiv 2406.14283, section 3 and appendix)."""

    name: str = Field(min_length=1)
    """How the table calls it; unique within the run."""
    algorithm: Literal[
        "greedy",
        "self_consistency",
        "best_of_n",
        "beam",
        "dvts",
        "mcts",
        "best_first",
        "astar",
        "adaptive",
    ]
    """``adaptive`` answers each question with the configuration that is chosen for it; the section
    adaptive says from what, and the fields below but ``choose`` and ``factor`` say nothing."""
    temperature: Float = Field(default=1.0, ge=0.0)
    k: int = Field(default=6, ge=1)
    """Proposals per expansion."""
    n: int = Field(default=6, ge=1)
    """Finished trajectories after which a tree search stops; for best-of-N and self-consistency
    the most they draw."""
    lam: Float = Field(default=1.0, ge=0.0)
    """lambda in f = g + lambda * h."""
    heuristic: Literal["edge", "lookahead"] = "edge"
    aggregation: Literal["min", "max", "sum", "last"] = "min"
    reward: Literal["rules", "logprob", "prm", "none"] = "rules"
    """Process reward R_P: the domain's rules, the mean log-probability of a step's tokens, the
    model of ``prm.path``, or 0."""
    merge: Literal["text", "state"] = "text"
    """A*: which states count as one: equal texts, or equal canonical states of the domain."""
    reopen: bool = False
    """A* only (and best-first, which is A* without g): an expanded state may be popped again and
    then samples K more actions; when is said by the Good-Turing estimate of what its samples have
    missed (`qstar_core.search.reopening`)."""
    step_values: Literal["last", "min", "product", "mean"] = "last"
    """Best-of-N: which of the Q of a rollout's steps make its h."""
    vote: Literal["majority", "q"] = "majority"
    """Self-consistency: whether a rollout's vote weighs 1 or its Q."""
    width: int = Field(default=4, ge=1)
    """Beam search: beams; DVTS: subtrees."""
    exploration: Float = Field(default=1.0, ge=0.0)
    """MCTS: the constant c before the bonus of seldom visited actions."""
    exploration_rule: Literal["puct", "uct"] = "puct"
    choose: Literal["policy", "random", "fixed", "factor", "linucb", "oracle"] = "policy"
    """Adaptive: who chooses. ``fixed`` is the single best configuration of the training questions,
    ``factor`` the policy that chooses one factor alone; ``oracle`` tries all configurations and
    takes one that is right."""
    factor: str | None = None
    """Adaptive, ``choose: factor``: which one."""

    def rows(self) -> dict[str, Any]:
        """The fields that can change a row; those of adaptive methods are of these alone."""
        found = super().rows()
        own = {name: found.pop(name) for name in ("choose", "factor")}
        adaptive = {"name": self.name, "algorithm": self.algorithm, **own}
        return adaptive if self.algorithm == "adaptive" else found


def _different(methods: list[SearchConfig]) -> list[str]:
    """The names of methods, which must be different."""
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise ValueError("methods must have different names")
    return names


def _default_methods() -> list[SearchConfig]:
    return [
        SearchConfig(name="greedy", algorithm="greedy", temperature=0.0),
        SearchConfig(name="best-of-N", algorithm="best_of_n", n=1000),
        SearchConfig(name="A*", algorithm="astar"),
    ]


class EvaluationConfig(Section):
    """Offline evaluation of searches at an equal token budget."""

    methods: list[SearchConfig] = Field(default_factory=_default_methods, min_length=1)
    baseline: str = "best-of-N"
    """Name of the method that the others are compared with, pairwise on the same problems."""
    max_policy_tokens: int = Field(default=400, ge=1)
    """Budget per problem and method: tokens the policy generates."""
    max_step_tokens: int = Field(default=32, ge=1)
    """Tokens of one proposed step; a longer one is cut off and dropped. Where steps are so many
    tokens (MBPP), a smaller number makes them shorter."""
    max_value_calls: int = Field(default=10_000, ge=1)
    """Texts that the Q-value model and the process reward model score."""
    max_expansions: int = Field(default=10_000, ge=1)
    bootstrap_samples: int = Field(default=10_000, ge=100)
    report_trees: int = runtime_only(2000, ge=0)
    """Problems whose search trees the report has; it lists all. Of more problems those in which
    the methods disagree come first."""
    shard_problems: int = runtime_only(250, ge=1)
    active: int = runtime_only(64, ge=1)
    """Searches advanced together."""

    @model_validator(mode="after")
    def _named(self) -> EvaluationConfig:
        names = _different(self.methods)
        if self.baseline not in names:
            raise ValueError(f"baseline {self.baseline!r} is not the name of a method: {names}")
        return self


class ComparisonConfig(Section):
    """Comparison of searches over a sweep of budgets (``qstar compare``); see docs/comparing.md.

    What is not said here is that of the section evaluation.
    """

    tokens: list[Annotated[int, Field(ge=1)]] = Field(default=[100, 200, 400, 800], min_length=1)
    """Budgets of the sweep: policy tokens per problem, ascending."""
    seconds: list[Annotated[Float, Field(gt=0.0)]] = Field(default=[])
    """Budgets of a second sweep: seconds of this machine per problem, shared out over the searches
    under way, ascending; none leaves it out. Neither tokens nor value calls nor expansions are
    limited in it. Its rows depend on the machine."""
    methods: list[SearchConfig] | None = Field(default=None, min_length=1)
    """None is those of the evaluation."""
    baseline: str | None = None
    """Name of the method that the others are compared with at each budget; None is that of the
    evaluation."""
    correction: Literal["holm", "none"] = "holm"
    """How p-values are adjusted for the number of comparisons of a sweep."""
    price_per_million_tokens: Float | None = runtime_only(None, ge=0.0)
    """Of policy tokens, in any currency; the report then has a cost per problem. It changes no row
    and no p-value, so no search is repeated for it, only the report written anew."""

    @field_validator("tokens", "seconds")
    @classmethod
    def _ascending(cls, budgets: list[float]) -> list[float]:
        if any(a >= b for a, b in pairwise(budgets)):
            raise ValueError("budgets must ascend, each given once")
        return budgets

    @field_validator("methods")
    @classmethod
    def _named(cls, methods: list[SearchConfig] | None) -> list[SearchConfig] | None:
        _different(methods or [])
        return methods
