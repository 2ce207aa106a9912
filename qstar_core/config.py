"""The configuration of a run, checked by pydantic before anything starts.

Every field either can change a row, then it is part of the run key of its stage; or it cannot,
then it is declared with ``runtime_only`` and left out of all keys. A test holds every field to
one of the two.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from qstar_core.config_search import ComparisonConfig, EvaluationConfig, SearchConfig
from qstar_core.config_section import RUNTIME_ONLY, Float, Section, runtime_only

__all__ = [
    "RUNTIME_ONLY",
    "ComparisonConfig",
    "CountdownRanges",
    "DomainConfig",
    "EvaluationConfig",
    "LabelsConfig",
    "PolicyConfig",
    "PretrainConfig",
    "PrmConfig",
    "QvmConfig",
    "RolloutsConfig",
    "RunConfig",
    "RuntimeConfig",
    "SearchConfig",
    "Section",
    "ServerConfig",
]


class CountdownRanges(Section):
    """Countdown problems: how many numbers, inclusive ranges, and how easy at least."""

    numbers: int = Field(default=4, ge=2, le=6)
    min_number: int = Field(default=1, ge=0)
    max_number: int = Field(default=13, ge=1, le=200)
    min_target: int = Field(default=10, ge=0)
    max_target: int = Field(default=100, ge=1, le=200)
    min_solutions: int = Field(default=1, ge=1)
    """Problems that fewer distinct plays solve are left out; more of them make it easier."""

    @model_validator(mode="after")
    def _ordered(self) -> CountdownRanges:
        if self.min_number > self.max_number:
            raise ValueError("min_number must not exceed max_number")
        if self.min_target > self.max_target:
            raise ValueError("min_target must not exceed max_target")
        return self


class DomainConfig(Section):
    """What is reasoned about, and how many problems of each split."""

    name: Literal["countdown"] = "countdown"
    train_problems: int | None = Field(default=None, ge=1)
    """None is all of ``train_file``, or 2000 generated ones; of a file the first ones are used."""
    test_problems: int | None = Field(default=None, ge=1)
    """None is all of ``test_file``, or 500 generated ones; of a file the first ones are used."""
    ranges: CountdownRanges = CountdownRanges()
    train_file: str | None = None
    """JSONL of training problems instead of generated ones, a path or ``s3://`` URI."""
    test_file: str | None = None
    """JSONL of evaluation problems instead of generated ones."""


REFUSED_ARGUMENTS = {  # of policy.engine and qvm.engine, with the reason
    "trust_remote_code": "code that comes with a checkpoint is never run",
    "hf_token": "a secret; set HF_TOKEN in the environment",
    "model": "the path names it",
    "tokenizer": "it is that of the path",
    "tokenizer_mode": "it is that of the path",
    "dtype": "the dtype names it",
    "generation_config": "what ends a text is said in each request",
    "logprobs_mode": "log-probabilities are those of temperature 1",
    "max_num_seqs": "the batch size names it",
    "runner": "the use that is made of the model says it",
    "convert": "the use that is made of the model says it",
    "pooler_config": "a Q-value is the logit at the last token",
}
LOAD_FORMATS = ("safetensors", "fastsafetensors", "runai_streamer")  # none of them unpickles


def _check_engine(engine: dict[str, JsonValue]) -> None:
    """Refuses arguments of vLLM that are unsafe, secret, or contradict another field."""
    for name in engine:
        if name in REFUSED_ARGUMENTS:
            raise ValueError(f"engine.{name} is refused: {REFUSED_ARGUMENTS[name]}")
    if engine.get("load_format", "safetensors") not in LOAD_FORMATS:
        raise ValueError(f"engine.load_format must be one of {', '.join(LOAD_FORMATS)}")


class ServerConfig(Section):
    """OpenAI-compatible completions servers that serve the policy; see docs/serving.md."""

    urls: tuple[str, ...] = runtime_only(("http://127.0.0.1:8000/v1",), min_length=1, strict=False)
    """Base addresses, all of them serving the same model."""
    model: str | None = None
    """The name they serve it under; None is the only one they serve."""
    revision: str | None = None
    """What tells this model from others of its name; part of the key, not sent anywhere."""
    api_key_env: str = runtime_only("QSTAR_SERVER_KEY")
    """Environment variable with the key, if the servers want one."""
    concurrency: int = runtime_only(256, ge=1)
    """Requests in flight per worker, over all servers."""
    timeout_s: Float = runtime_only(120.0, gt=0.0)
    """For one answer."""
    retries: int = runtime_only(8, ge=0)
    """Of one request, with pauses of about 45 s in all before the eighth."""
    outage_timeout_s: Float = runtime_only(300.0, ge=0.0)
    """The run ends when no server has answered for this long; at its start it does at once."""


class PolicyConfig(Section):
    """The frozen LLM."""

    backend: Literal["transformers", "vllm", "server"] = "transformers"
    """vllm runs in an environment of its own, named by ``runtime.python``; see docs/adr/0007."""
    path: str = "reference:countdown-policy"
    """Folder, ``s3://`` URI or hub name of a causal LM; ``reference:NAME`` comes with qstar."""
    dtype: Literal["float64", "float32", "float16", "bfloat16"] = "float64"
    """float64 makes samples independent of the batch's shape; see docs/adr/0002. vLLM has none."""
    chat: bool = False
    """Ask the prompt through the tokenizer's chat template; the steps go on with the answer."""
    lora: str | None = None
    """Folder of a LoRA adapter (PEFT, safetensors) put on the weights; backend vllm only."""
    engine: dict[str, JsonValue] = Field(default={})
    """Further arguments of ``vllm.LLM``, such as ``tensor_parallel_size``, ``max_model_len``,
    ``gpu_memory_utilization`` or ``enforce_eager``; backend vllm only."""
    device: str = runtime_only("auto")
    """Of the transformers backend; vLLM takes the one it was built for."""
    batch_size: int = runtime_only(256, ge=1)
    """Sequences in flight."""
    server: ServerConfig = ServerConfig()
    """Of the server backend; ``path`` is the checkpoint that is served, ``dtype`` its precision."""

    @model_validator(mode="after")
    def _engine_fits(self) -> PolicyConfig:
        if self.backend != "vllm" and (self.lora is not None or self.engine):
            raise ValueError("lora and engine need backend: vllm")
        if self.backend != "transformers" and self.dtype == "float64":
            raise ValueError(f"{self.backend} has no float64: set dtype to float32 or bfloat16")
        _check_engine(self.engine)
        return self


class RolloutsConfig(Section):
    """Sampling whole trajectories from every training problem."""

    samples: int = Field(default=16, ge=1)
    temperature: Float = Field(default=1.0, ge=0.0)
    max_new_tokens: int = Field(default=96, ge=1)
    drift_requests: int = runtime_only(32, ge=0)
    """Samples of each shard that are drawn again in another batch, where the engine does not
    promise equal ones; the figures say how many differ. 0 measures nothing."""
    shard_problems: int = runtime_only(500, ge=1)
    max_quarantined: Float = runtime_only(0.02, ge=0.0, le=1.0)
    """Share of a shard's problems that may fail and be left out; one always may."""


class LabelsConfig(Section):
    """Rollouts to Q-labels."""

    method: Literal["best_of_rollouts"] = "best_of_rollouts"
    gamma: Float = Field(default=1.0, gt=0.0, le=1.0)


class QvmConfig(Section):
    """Training of the Q-value model."""

    path: str | None = None
    """A trained QVM to evaluate with instead of training one."""
    init: str | None = None
    """Folder, ``s3://`` URI or hub name of the backbone; None is the policy itself."""
    loss: Literal["bce", "mse"] = "bce"
    holdout: Float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the training problems kept out, for the held-out figures."""
    failures: Float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the trajectories without any positive label that are trained on; each of them then
    counts 1 / failures. Saves time where the policy seldom succeeds."""
    epochs: Float = Field(default=3.0, gt=0.0)
    batch_size: int = Field(default=128, ge=1)
    """Trajectories per update."""
    learning_rate: Float = Field(default=1e-3, gt=0.0)
    weight_decay: Float = Field(default=0.01, ge=0.0)
    warmup_steps: int = Field(default=20, ge=1)
    bf16: bool = True
    score_dtype: Literal["float64", "float32", "bfloat16"] = "float64"
    score_batch_size: int = runtime_only(256, ge=1)
    """Texts in one batch."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What scores; vllm as in ``policy.backend``, in the environment of ``runtime.python``."""
    engine: dict[str, JsonValue] = Field(default={})
    """Further arguments of ``vllm.LLM``, as in ``policy.engine``; backend vllm only."""
    cache_mb: int = runtime_only(512, ge=0)
    """MiB per worker for the keys and values of long prefixes; 0 computes them anew each time."""

    @model_validator(mode="after")
    def _engine_fits(self) -> QvmConfig:
        if self.backend != "vllm" and self.engine:
            raise ValueError("engine needs backend: vllm")
        if self.backend == "vllm" and self.score_dtype == "float64":
            raise ValueError("vllm has no float64: set score_dtype to float32 or bfloat16")
        _check_engine(self.engine)
        return self


class PrmConfig(Section):
    """A trained process reward model, for methods with ``reward: prm``."""

    path: str | None = None
    """Folder, ``s3://`` URI or hub name of a token-classification checkpoint with one label: the
    probability that a step is right, read at its last token."""
    dtype: Literal["float64", "float32", "bfloat16"] = "float64"
    batch_size: int = runtime_only(256, ge=1)
    """Texts in one batch."""
    cache_mb: int = runtime_only(512, ge=0)
    """As ``qvm.cache_mb``."""


class RuntimeConfig(Section):
    """How the work is run; nothing here can change a row."""

    workers: int = runtime_only(2, ge=1)
    """Worker processes that generate and search in parallel."""
    python: str | None = runtime_only(None)
    """Interpreter of the workers; None is this one."""
    threads: int | None = runtime_only(None)
    """Torch threads per worker; None shares out the cores."""
    stall_timeout_s: Float = runtime_only(3600.0, gt=0.0)
    """A worker that reports no progress for this long is killed, the shard retried."""
    retries: int = runtime_only(2, ge=0)
    max_tokens: int | None = runtime_only(None, ge=1)
    """Policy tokens of one run, after which no further shard is started."""
    max_hours: Float | None = runtime_only(None, gt=0.0)
    """Hours of one run, after which no further shard is started."""
    runner: Literal["local", "ray"] = runtime_only("local")
    """Where shards are worked on: worker processes of this machine, or a Ray cluster."""
    ray_address: str | None = runtime_only(None)
    """Of a Ray cluster, ``host:port`` or ``ray://host:port``; None starts one on this machine."""
    gpus_per_worker: Float = runtime_only(0.0, ge=0.0)
    """GPUs that Ray reserves for each shard."""


class PretrainConfig(Section):
    """Training of the embedded reference policy (``qstar pretrain``)."""

    init: str | None = None
    """Checkpoint folder to go on from, its weights only; None starts from random weights."""
    seed: int = 0
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
    flatten: Float = Field(default=0.75, ge=0.0, le=1.0)
    """How far solved plays are thinned out towards one per problem; 0 leaves them as drawn."""
    rarity_plays: int = Field(default=2_000_000, ge=1)
    """Random plays that measure how often each problem is solved by chance."""
    bf16: bool = True
    compile: bool = True
    save_every: int = runtime_only(250, ge=1)


class RunConfig(Section):
    """A whole run."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9._-]+$", json_schema_extra=RUNTIME_ONLY)
    out: str = runtime_only("results")
    """Folder or ``s3://bucket/prefix`` of all data sets and reports."""
    seed: int = 0
    domain: DomainConfig = DomainConfig()
    policy: PolicyConfig = PolicyConfig()
    rollouts: RolloutsConfig = RolloutsConfig()
    labels: LabelsConfig = LabelsConfig()
    qvm: QvmConfig = QvmConfig()
    prm: PrmConfig = PrmConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    pretrain: PretrainConfig = PretrainConfig()

    @model_validator(mode="after")
    def _comparable(self) -> RunConfig:
        chosen = self.compared()
        names = [method.name for method in chosen.methods]
        if chosen.baseline not in names:
            raise ValueError(
                f"comparison.baseline {chosen.baseline!r} is not the name of a method: {names}"
            )
        return self

    def compared(self) -> EvaluationConfig:
        """The evaluation with the methods and the baseline that ``qstar compare`` takes."""
        asked, usual = self.comparison, self.evaluation
        methods = usual.methods if asked.methods is None else asked.methods
        baseline = usual.baseline if asked.baseline is None else asked.baseline
        return usual.model_copy(update={"methods": methods, "baseline": baseline})
