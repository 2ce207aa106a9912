"""The fields of AdaReasoner (arXiv 2505.17312): what is chosen, how it is learnt, what is tried."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from qstar_core.config_models import PolicyConfig
from qstar_core.config_search import SearchConfig
from qstar_core.config_section import Float, Section, runtime_only

Value = str | int | float
Pooling = Literal["mean", "last"]
PROMPT = "prompt"
"""What a template calls the question; no factor may have this name."""
FIELD = re.compile(r"\{(\w+)\}")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
BUDGET = "max_policy_tokens"
OF_METHODS = ("name", "choose", "factor")
SETTINGS = (*(f for f in SearchConfig.model_fields if f not in OF_METHODS), BUDGET)
"""Factors with these names are settings of the search; all others are said in the prompt."""
WITHOUT_Q = ("greedy", "adaptive")
ORACLE_MOST = 200
"""Configurations that an oracle tries on each question at most."""


class Factor(Section):
    """One thing that is chosen."""

    name: Name
    values: tuple[Value, ...] = Field(min_length=1, strict=False)
    """What it can be, in order; all different."""
    texts: tuple[str, ...] = Field(default=(), strict=False)
    """What a prompt says for each value; empty where it says the value itself."""

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"factor {self.name}: a value stands there twice")
        if self.texts and len(self.texts) != len(self.values):
            raise ValueError(f"factor {self.name}: texts must be as many as values, or none")
        return self

    def text(self, index: int) -> str:
        """What a prompt says for a value."""
        return self.texts[index] if self.texts else str(self.values[index])


class Annealing(Section):
    """tau_k = max(floor, tau_0 * alpha^k), k the number of episodes before."""

    tau_0: Float = Field(default=1.0, gt=0.0)
    alpha: Float = Field(default=0.9999, gt=0.0, le=1.0)
    """Per episode; 1 does not anneal."""
    floor: Float = Field(default=0.2, gt=0.0)

    def tau(self, episode: int) -> float:
        """The temperature of exploration after some episodes."""
        return max(self.floor, self.tau_0 * self.alpha**episode)


class ReinforceConfig(Section):
    """How the policy learns."""

    episodes: int = Field(default=5000, ge=1)
    batch_size: int = Field(default=50, ge=1)
    """Episodes per update."""
    per_question: int = Field(default=1, ge=1)
    """Episodes of a question in a batch."""
    baseline: Literal["none", "running_mean", "leave_one_out"] = "running_mean"
    """``none`` is the paper's; ``leave_one_out`` needs ``per_question`` of 2 or more."""
    window: int = Field(default=500, ge=1)
    """Of the running mean: it forgets what lies more than about so many episodes back."""
    entropy_bonus: Float = Field(default=0.05, ge=0.0)
    learning_rate: Float = Field(default=0.01, gt=0.0)
    price_per_token: Float = Field(default=0.0, ge=0.0)
    """What a policy token costs, in units of reward."""
    annealing: Annealing = Annealing()
    hidden: tuple[int, ...] = Field(default=(64,), strict=False)
    """Units of the shared layers."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.baseline == "leave_one_out" and self.per_question < 2:
            raise ValueError("leave_one_out needs per_question of 2 or more")
        if self.batch_size % self.per_question or self.episodes % self.per_question:
            raise ValueError("episodes and batch_size must be multiples of per_question")
        return self


def _one_sample() -> SearchConfig:
    return SearchConfig(name="one sample", algorithm="best_of_n", n=1, lam=0.0, reward="none")


class AdaptiveConfig(ReinforceConfig):
    """Training of a policy that picks a configuration for each question; see docs/adaptive.md."""

    factors: tuple[Factor, ...] = Field(default=(), strict=False)
    """What is chosen. One with the name of a field of a search method, or ``max_policy_tokens``,
    is that setting; the others are said in the prompt. None is the paper's space: temperature,
    steps, instruction."""
    template: str = "{prompt}"
    """Of ``factors``: the prompt of a configured question; ``{prompt}`` is the question, ``{NAME}``
    the text of a factor's value."""
    instruction_in_two: bool = False
    """Of the paper's space: base and variation are two factors of 10 values."""
    method: SearchConfig = Field(default_factory=_one_sample)
    """How a configured question is answered; the factors change its fields. By default a sample."""
    max_policy_tokens: int | None = Field(default=None, ge=1)
    """Of one episode; None is that of the evaluation."""
    logged: Annotated[int, Field(ge=0)] | Literal["all"] = 8
    """Random configurations that are tried on each training question, to choose the best fixed one
    and to estimate others by; ``all`` tries every configuration once."""
    source: Literal["online", "logged"] = "online"
    """Where the episodes of a training come from: they are tried as they are drawn, or looked up
    among the logged ones, which must be ``all``."""
    reward: Literal["grade", "model", "judge"] = "grade"
    reward_model: str | None = None
    """Of reward model: a sequence classifier with one label, a folder or a hub name."""
    judge: PolicyConfig | None = None
    """Of reward judge: the LLM that judges; its fields are those of ``policy``."""
    judge_tokens: int = Field(default=512, ge=1)
    """Tokens of its reasons and its verdict."""
    embedding: str | None = None
    """Folder or hub name of a model, such as a Q-value model, whose hidden state embeds a question;
    None is the policy's own."""
    pooling: Pooling = "mean"
    """Which hidden state: the mean over a question's tokens, or that of the last one, after which a
    causal LM goes on to answer."""
    ablations: bool = False
    """Train a policy for each factor alone too, the others at the best fixed values."""
    linucb: Float | None = Field(default=None, gt=0.0)
    """Train LinUCB too, with this weight of its bonus."""
    seed: int | None = Field(default=None, ge=0)
    """None is that of the run."""
    allow: list[Literal["leakage", "near_duplicates"]] = runtime_only([])
    """As ``qvm.allow``."""
    save_every: int = runtime_only(1000, ge=1)
    """Episodes between two checkpoints."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.source == "logged" and self.logged != "all":
            raise ValueError("source: logged looks every episode up: set logged: all")
        if self.logged == 0 and (self.ablations or self.linucb is not None):
            raise ValueError("logged: 0 leaves no best fixed configuration to compare with")
        if self.reward == "model" and self.reward_model is None:
            raise ValueError("reward: model needs reward_model, the path of a classifier")
        if self.reward == "judge" and self.judge is None:
            raise ValueError("reward: judge needs judge, a policy such as {backend: server, ...}")
        if self.method.algorithm == "adaptive":
            raise ValueError("method: an episode is answered by a search, not adaptively")
        self._check_space()
        self.searches()
        return self

    def _check_space(self) -> None:
        names = [factor.name for factor in self.factors]
        if len(set(names)) < len(names) or PROMPT in names:
            raise ValueError(f"factors need different names, none of them {PROMPT}: {names}")
        if not self.factors:
            if self.template != "{prompt}":
                raise ValueError("template goes with factors; the paper's space has its own")
            return
        said = FIELD.findall(self.template)
        for field in said:
            if field not in (PROMPT, *names):
                raise ValueError(f"template: no factor is called {field}, only {', '.join(names)}")
        for name in names:
            if name not in SETTINGS and name not in said:
                raise ValueError(
                    f"factor {name} is neither said in the template nor a setting: "
                    f"{', '.join(SETTINGS)}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the factors, in order."""
        if self.factors:
            return tuple(factor.name for factor in self.factors)
        instruction = ("base", "variation") if self.instruction_in_two else ("instruction",)
        return ("temperature", "steps", *instruction)

    @property
    def size(self) -> int:
        """How many configurations there are; the paper's has 11 x 8 x 100."""
        return math.prod(len(factor.values) for factor in self.factors) if self.factors else 8800

    def learners(self) -> tuple[str, ...]:
        """What is trained: ``policy``, ``only-FACTOR`` for each factor, ``linucb``."""
        alone = tuple(f"only-{name}" for name in self.names) if self.ablations else ()
        return ("policy", *alone, *(("linucb",) if self.linucb is not None else ()))

    def seed_of(self, run: int) -> int:
        """The seed of training and logging."""
        return run if self.seed is None else self.seed

    def learning(self) -> ReinforceConfig:
        """How the policy learns, without the rest."""
        names = ReinforceConfig.model_fields
        return ReinforceConfig(**{name: getattr(self, name) for name in names})

    def searches(self) -> list[SearchConfig]:
        """The searches that episodes are made of, one for each choice that asks other models."""
        own = {f.name: f.values for f in self.factors if f.name in SETTINGS and f.name != BUDGET}
        for name, values in own.items():
            for value in values:
                _changed(self.method, {name: value})
        chosen = {n: v for n, v in own.items() if n in ("algorithm", "vote", "lam", "reward")}
        return [
            _changed(self.method, dict(zip(chosen, values, strict=True)))
            for values in product(*chosen.values())
        ]


def _changed(method: SearchConfig, changes: dict[str, Any]) -> SearchConfig:
    """A method with other settings, checked like any other."""
    found = SearchConfig.model_validate({**method.model_dump(), **changes})
    if found.algorithm == "adaptive":
        raise ValueError("factor algorithm: adaptive is no search")
    return found


def expanded(
    methods: Sequence[SearchConfig], adaptive: AdaptiveConfig | None
) -> list[SearchConfig]:
    """Methods with the searches that adaptive ones choose among in their place."""
    inner = adaptive.searches() if adaptive is not None else []
    found = []
    for method in methods:
        found += inner if method.algorithm == "adaptive" else [method]
    return found


def asks_q(method: SearchConfig) -> bool:
    """Whether a search asks for Q-values."""
    if method.algorithm == "self_consistency":
        return method.vote == "q"
    return method.lam > 0 and method.algorithm not in WITHOUT_Q


def check_adaptive(adaptive: AdaptiveConfig | None, methods: Sequence[SearchConfig]) -> None:
    """Makes sure that what adaptive methods choose by is trained.

    Raises:
        ValueError: it is not.
    """
    for method in methods:
        if method.algorithm != "adaptive":
            continue
        who = f"method {method.name!r}, choose: {method.choose}"
        if adaptive is None:
            raise ValueError(f"{who}: algorithm adaptive needs the section adaptive, {{}} at least")
        if method.choose == "fixed" and adaptive.logged == 0:
            raise ValueError(f"{who}: the best fixed configuration needs adaptive.logged")
        if method.choose == "linucb" and adaptive.linucb is None:
            raise ValueError(f"{who}: set adaptive.linucb, for example to 0.5")
        if method.choose == "factor" and not adaptive.ablations:
            raise ValueError(f"{who}: set adaptive.ablations")
        if method.choose == "factor" and method.factor not in adaptive.names:
            raise ValueError(f"{who}: factor must be one of {', '.join(adaptive.names)}")
        if method.choose == "oracle" and adaptive.size > ORACLE_MOST:
            raise ValueError(
                f"{who}: an oracle tries all {adaptive.size:,} configurations on each question; "
                f"at most {ORACLE_MOST} are allowed"
            )
