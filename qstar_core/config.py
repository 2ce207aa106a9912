"""The configuration of a run, checked by pydantic before anything starts.

Every field either can change a row, then it is part of the run key of its stage; or it cannot,
then it is declared with ``runtime_only`` and left out of all keys. A test holds every field to
one of the two.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from qstar_core.config_adaptive import AdaptiveConfig, check_adaptive
from qstar_core.config_domain import CountdownRanges, DomainConfig
from qstar_core.config_models import PolicyConfig, PrmConfig, QvmConfig, ServerConfig
from qstar_core.config_pools import PoolConfig, check_apart
from qstar_core.config_runtime import CardConfig, RuntimeConfig
from qstar_core.config_search import ComparisonConfig, EvaluationConfig, SearchConfig
from qstar_core.config_section import RUNTIME_ONLY, Float, Section, runtime_only
from qstar_core.config_sft import LoraConfig, SftConfig
from qstar_core.config_training import TrainingConfig

__all__ = [
    "RUNTIME_ONLY",
    "AdaptiveConfig",
    "CardConfig",
    "ComparisonConfig",
    "CountdownRanges",
    "DomainConfig",
    "EvaluationConfig",
    "LabelsConfig",
    "LoraConfig",
    "PolicyConfig",
    "PoolConfig",
    "PretrainConfig",
    "PrmConfig",
    "QvmConfig",
    "RolloutsConfig",
    "RunConfig",
    "RuntimeConfig",
    "SearchConfig",
    "Section",
    "ServerConfig",
    "SftConfig",
    "TrainingConfig",
]


class RolloutsConfig(Section):
    """Sampling whole trajectories from every training problem, or importing them."""

    import_file: str | None = None
    """JSONL, plain or gzip, of rollouts from elsewhere with their problems, a path or ``s3://``
    URI; then nothing is sampled and the fields below but ``shard_problems`` say nothing."""

    samples: int = Field(default=16, ge=1)
    temperature: Float = Field(default=1.0, ge=0.0)
    max_new_tokens: int = Field(default=96, ge=1)
    drift_requests: int = runtime_only(32, ge=0)
    """Samples of each shard that are drawn again in another batch, where the engine does not
    promise equal ones; the figures say how many differ. 0 measures nothing."""
    shard_problems: int = runtime_only(500, ge=1)
    max_quarantined: Float = runtime_only(0.02, ge=0.0, le=1.0)
    """Share of a shard's problems that may fail and be left out; one always may."""

    def rows(self) -> dict[str, Any]:
        """The fields that can change a row; an imported file counts by its content."""
        found = super().rows()
        del found["import_file"]
        return found


class LabelsConfig(Section):
    """Rollouts to Q-labels; docs/labels.md says which method to use when."""

    method: Literal[
        "best_of_rollouts",
        "mcts_pool",
        "stronger_policy",
        "mean_of_rollouts",
        "soft",
        "binary_search",
        "fitted_q",
    ] = "best_of_rollouts"
    gamma: Float = Field(default=1.0, gt=0.0, le=1.0)
    """Discount per step."""
    eta: Float = Field(default=0.1, ge=0.002)
    """Of soft: temperature of the maximum; small is near the best return, large near the mean."""
    reduce: Literal["max", "mean"] = "max"
    """Of stronger_policy: what is taken of several completions."""
    rounds: int = Field(default=2, ge=1)
    """fitted_q: rounds of labels and of a Q-value model trained on them."""
    start: Literal["zero", "best_of_rollouts"] = "zero"
    """fitted_q: labels of the first round, from Q_0 = 0 (the reward at the end of a trajectory, 0
    elsewhere), or those of another method."""
    candidates: int | None = Field(default=None, ge=1)
    """fitted_q: K, actions of the next state that its value is the maximum of; None is all that
    are stored."""

    def parameters(self) -> dict[str, Any]:
        """The method's own fields; those of other methods cannot change a row."""
        return {name: getattr(self, name) for name in LABEL_PARAMETERS.get(self.method, ())}

    def rows(self) -> dict[str, Any]:
        """Method, gamma and the method's own fields; rounds and start say how many stages."""
        return {"method": self.method, "gamma": self.gamma, **self.parameters()}

    def of_round(self, number: int) -> dict[str, Any]:
        """What decides the labels of one round, from 1; other methods have one round."""
        if self.method != "fitted_q":
            return self.rows()
        if number == 1 and self.start != "zero":
            return self.model_copy(update={"method": self.start}).rows()
        return {**self.rows(), "round": number}


LABEL_PARAMETERS = {
    "soft": ("eta",),
    "stronger_policy": ("reduce",),
    "fitted_q": ("candidates",),
}
"""Fields of `LabelsConfig` that one method takes alone."""


class PretrainConfig(Section):
    """Training of the embedded reference policy (``qstar pretrain``)."""

    init: str | None = None
    """Checkpoint folder to go on from, its weights only; None starts from random weights."""
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=3200, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: Float = Field(default=0.01, gt=0.0)
    weight_decay: Float = Field(default=0.01, ge=0.0)
    warmup_steps: int = Field(default=30, ge=1)
    decay: Float = Field(default=0.4, gt=0.0, le=1.0)
    """Share of the steps over which the learning rate falls to 0."""
    hidden_size: int = Field(default=128, ge=8)
    intermediate_size: int = Field(default=384, ge=8)
    layers: int = Field(default=5, ge=1)
    heads: int = Field(default=4, ge=1)
    context: int = Field(default=128, ge=64)
    numbers: dict[Annotated[int, Field(ge=2, le=6)], Float] = Field(
        default={3: 0.08, 4: 0.8, 5: 0.12}
    )
    """Weight of each count of numbers in the mixture of plays."""
    max_number: int = Field(default=13, ge=1)
    min_target: int = Field(default=10, ge=0)
    max_target: int = Field(default=100, ge=1)
    miss_share: Float = Field(default=0.25, ge=0.0, le=1.0)
    """Share of honest misses among the plays."""
    instructed: bool = False
    """Plays follow an instruction, their first operation and number of lines, and need not use all
    numbers."""
    questions: int = Field(default=0, ge=0)
    """Of ``instructed``, for 3 numbers at most: questions of a step, beside its plays, after which
    the instructions that suit are to be predicted."""
    fraction_weight: Float = Field(default=0.0, ge=0.0)
    """How often a division ends in a fraction, beside the 1 of every other move."""
    flatten: Float = Field(default=0.75, ge=0.0, le=1.0)
    """How far solved plays are thinned out towards one per problem; 0 leaves them as drawn."""
    rarity_plays: int = Field(default=2_000_000, ge=1)
    """Random plays that measure how often each problem is solved by chance."""
    bf16: bool = True
    compile: bool = True
    saved_as: Literal["float32", "float16"] = "float32"
    """Precision of the checkpoint's weights; half of it is half the size."""
    save_every: int = runtime_only(250, ge=1)

    @model_validator(mode="after")
    def _questions_are_small(self) -> PretrainConfig:
        if self.questions and not (self.instructed and max(self.numbers) <= 3):
            raise ValueError("questions needs instructed, and 3 numbers at most")
        return self


class RunConfig(Section):
    """A whole run."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9._-]+$", json_schema_extra=RUNTIME_ONLY)
    out: str = runtime_only("results")
    """Folder or ``s3://bucket/prefix`` of all data sets and reports."""
    seed: int = Field(default=0, ge=0)
    rounds: int = Field(default=1, ge=1)
    """Of expert iteration: each further one samples, labels, trains and evaluates with the policy
    that was fine-tuned on the rollouts of the round before."""
    domain: DomainConfig = DomainConfig()
    policy: PolicyConfig = PolicyConfig()
    rollouts: RolloutsConfig = RolloutsConfig()
    pools: list[PoolConfig] = Field(default=[])
    labels: LabelsConfig = LabelsConfig()
    qvm: QvmConfig = QvmConfig()
    prm: PrmConfig = PrmConfig()
    sft: SftConfig = SftConfig()
    adaptive: AdaptiveConfig | None = None
    """AdaReasoner; without the section nothing of it is made."""
    evaluation: EvaluationConfig = EvaluationConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    card: CardConfig = CardConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    pretrain: PretrainConfig = PretrainConfig()

    @field_validator("pools")
    @classmethod
    def _apart(cls, pools: list[PoolConfig]) -> list[PoolConfig]:
        check_apart(pools)
        return pools

    @model_validator(mode="after")
    def _comparable(self) -> RunConfig:
        chosen = self.compared()
        names = [method.name for method in chosen.methods]
        check_adaptive(self.adaptive, [*self.evaluation.methods, *chosen.methods])
        if chosen.baseline not in names:
            raise ValueError(
                f"comparison.baseline {chosen.baseline!r} is not the name of a method: {names}"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> RunConfig:
        given = self.domain.train_file, self.domain.train_problems
        if self.rollouts.import_file is not None and given != (None, None):
            raise ValueError(
                "rollouts.import_file brings its own training problems: leave domain.train_file "
                "and domain.train_problems out"
            )
        if self.rollouts.import_file is not None and self.domain.prompt is not None:
            raise ValueError(
                "rollouts.import_file brings problems with the domain's own prompt, so that "
                "held-out ones are recognised: leave domain.prompt out"
            )
        return self

    @model_validator(mode="after")
    def _can_go_round(self) -> RunConfig:
        reasons = {
            "qvm.path brings a Q-value model, so nothing is sampled": self.qvm.path is not None,
            "rollouts.import_file brings rollouts of another policy": (
                self.rollouts.import_file is not None
            ),
            "a server goes on serving the policy it serves": self.policy.backend == "server",
            "a script goes on as it is": self.policy.backend == "scripted",
            "policy.lora is trained for the weights of the first round": (
                self.policy.lora is not None
            ),
        }
        for reason, holds in reasons.items():
            if self.rounds > 1 and holds:
                raise ValueError(f"rounds: {self.rounds} needs rollouts of each policy; {reason}")
        return self

    def compared(self) -> EvaluationConfig:
        """The evaluation with the methods and the baseline that ``qstar compare`` takes."""
        asked, usual = self.comparison, self.evaluation
        methods = usual.methods if asked.methods is None else asked.methods
        baseline = usual.baseline if asked.baseline is None else asked.baseline
        return usual.model_copy(update={"methods": methods, "baseline": baseline})
