"""The fields of pools: further trajectories of the training problems, for labels that need them.

A pool is a data set of its own, made after the rollouts from what they visited. A field that its
kind does not use is refused and is in no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from qstar_core.config_models import PolicyConfig
from qstar_core.config_section import Float, Section, runtime_only

CONTINUED = ("samples", "max_states", "max_samples", "width", "increment", "tokens_per_problem")
ADAPTIVE = ("width", "increment", "tokens_per_problem")
USED: dict[str, tuple[str, ...]] = {
    "states": CONTINUED,
    "stronger": (*CONTINUED, "policy", "temperature"),
    "mcts": (
        "simulations",
        "k",
        "rollouts",
        "exploration",
        "exploration_rule",
        "tokens_per_problem",
    ),
    "binary_search": ("samples",),
}
"""Fields of each kind, besides kind and name."""
BY_OUTCOME = ("mcts", "binary_search")
"""Kinds that go on from where trajectories were right or wrong."""


class PoolConfig(Section):
    """Where further trajectories start, and how many.

    The kinds ``states``, ``mcts`` and ``binary_search`` sample from the run's own policy at the
    temperature of the rollouts.
    """

    kind: Literal["states", "stronger", "mcts", "binary_search"]
    """states: continuations of every state that the rollouts visited; stronger: the same by
    another policy; mcts: trajectories of a Monte Carlo tree search whose rollouts are graded;
    binary_search: continuations of the states that locate the first wrong step of a trajectory."""
    name: str = runtime_only("", pattern=r"^[A-Za-z0-9._-]*$")
    """Of the stage, ``pool_NAME``; empty is the kind."""
    samples: int = Field(default=8, ge=1)
    """Continuations of each state; at temperature 0, where all are equal, one."""
    max_states: int | None = Field(default=None, ge=1)
    """States of a problem that are continued, those that most rollouts visited; None is all."""
    max_samples: int | None = Field(default=None, ge=1)
    """Adaptive: continuations of a state at most. None draws ``samples`` of each and no more."""
    width: Float = Field(default=0.3, gt=0.0, le=1.0)
    """Adaptive: width of the 95 % Wilson interval of a state's success rate, in shares of 1, at
    which no more is drawn."""
    increment: int = Field(default=4, ge=1)
    """Adaptive: continuations of a state that are added in a round."""
    tokens_per_problem: int | None = Field(default=None, ge=1)
    """Policy tokens of a problem. A tree search never exceeds them; adaptive sampling plans its
    rounds by them, after the first ``samples`` of each state."""
    policy: PolicyConfig | None = None
    """stronger: who continues; None is the run's own policy, at another temperature."""
    temperature: Float = Field(default=0.0, ge=0.0)
    """stronger: of the sampling."""
    simulations: int = Field(default=16, ge=1)
    """mcts: states that are expanded, at most."""
    k: int = Field(default=4, ge=1)
    """mcts: actions sampled in an expanded state."""
    rollouts: int = Field(default=1, ge=1)
    """mcts: continuations of each new state; their mean outcome is its value."""
    exploration: Float = Field(default=1.0, ge=0.0)
    """mcts: the constant before the bonus of seldom visited actions."""
    exploration_rule: Literal["puct", "uct"] = "uct"

    @model_validator(mode="after")
    def _fits(self) -> PoolConfig:
        for name, field in type(self).model_fields.items():
            known = ("kind", "name", *USED[self.kind])
            if name not in known and getattr(self, name) != field.default:
                raise ValueError(f"a pool of kind {self.kind} has no {name}; it has {known}")
        if self.kind in ("states", "stronger"):
            self._check_rounds()
        return self

    def _check_rounds(self) -> None:
        if self.max_samples is None:
            for name in ADAPTIVE:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} needs max_samples, which makes a pool adaptive")
        elif self.max_samples < self.draws:
            raise ValueError("max_samples must not be below samples")
        elif self.kind == "stronger" and self.temperature == 0:
            raise ValueError("max_samples needs a temperature: at 0 all samples are equal")

    @property
    def stage(self) -> str:
        """Name of its stage."""
        return f"pool_{self.name or self.kind}"

    @property
    def draws(self) -> int:
        """Continuations of each state that are drawn in any case."""
        return 1 if self.kind == "stronger" and self.temperature == 0 else self.samples

    @property
    def by_outcome(self) -> bool:
        """Whether outcomes, and so the grader, decide what is sampled."""
        return self.kind in BY_OUTCOME or self.max_samples is not None

    def rows(self) -> dict[str, Any]:
        """The fields that its kind uses, for the run key; the policy's identity is added there."""
        used = [name for name in USED[self.kind] if name != "policy"]
        if self.kind in ("states", "stronger") and self.max_samples is None:
            used = [name for name in used if name not in ADAPTIVE]
        kept = {name: getattr(self, name) for name in used}
        if "samples" in kept:
            kept["samples"] = self.draws
        return {"kind": self.kind, **kept}


def check_apart(pools: Sequence[PoolConfig]) -> None:
    """Refuses pools that have one name or hold the same samples.

    Raises:
        ValueError: two pools are alike.
    """
    names = [pool.stage for pool in pools]
    if len(set(names)) != len(names):
        raise ValueError(f"pools must have different names: {', '.join(names)}")
    who = [(pool.kind, pool.temperature, repr(pool.policy)) for pool in pools]
    if len(set(who)) != len(who):
        raise ValueError(
            "two pools of one kind would hold the same samples twice; only pools of kind stronger "
            "may be several, with different policies or temperatures"
        )
