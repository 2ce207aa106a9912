"""The fields of the models: the policy, the Q-value model, the process reward model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from qstar_core.config_section import Float, Section, runtime_only
from qstar_core.config_training import TrainingConfig

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

    backend: Literal["transformers", "vllm", "server", "scripted"] = "transformers"
    """vllm runs in an environment of its own, named by ``runtime.python``; see docs/adr/0007.
    scripted replays the texts of a file, for rehearsals; see `qstar_core.policies.script`."""
    path: str = "reference:countdown-policy"
    """Folder, ``s3://`` URI or hub name of a causal LM; ``reference:NAME`` comes with qstar. Of
    scripted: the file."""
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
        if self.backend in ("vllm", "server") and self.dtype == "float64":
            raise ValueError(f"{self.backend} has no float64: set dtype to float32 or bfloat16")
        _check_engine(self.engine)
        return self

    @property
    def without_weights(self) -> bool:
        """Whether ``path`` need not be a checkpoint that is at hand."""
        return self.backend in ("server", "scripted")


class QvmConfig(TrainingConfig):
    """Training of the Q-value model."""

    path: str | None = None
    """A trained QVM to evaluate with instead of training one."""
    init: str | None = None
    """Folder, ``s3://`` URI or hub name of the backbone; None is the policy itself."""
    allow: list[Literal["leakage", "near_duplicates"]] = runtime_only([])
    """What training refuses otherwise: test problems among the training problems (``leakage``), or
    near-duplicates of them. No part of the key: it decides whether there are rows, not which."""
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


class PrmConfig(TrainingConfig):
    """The process reward model of methods with ``reward: prm``; see docs/training-rewards.md."""

    path: str | None = None
    """Folder, ``s3://`` URI or hub name of a token-classification checkpoint with one label, the
    probability that a step is right, read at its last token. None trains one."""
    init: str | None = None
    """As ``qvm.init``."""
    allow: list[Literal["leakage", "near_duplicates"]] = runtime_only([])
    """As ``qvm.allow``, of the annotations too."""
    annotations: str | None = None
    """JSONL, plain or gzip, of step annotations to train on, a path or ``s3://`` URI: PRM800K,
    Math-Shepherd, or rows of question, steps and labels. None is the run's own rollouts, labelled
    by ``mean_of_rollouts`` (Math-Shepherd, arXiv 2312.08935)."""
    neutral: Literal["right", "wrong"] = "right"
    """What steps rated 0 on PRM800K's scale of -1, 0 and 1 count as."""
    estimation: Literal["hard", "soft"] = "hard"
    """Labels from rollouts: hard is 1 where the mean is above ``threshold``, else 0; soft is the
    mean itself."""
    threshold: Float = Field(default=0.0, ge=0.0, lt=1.0)
    """Of hard estimation; 0 calls a step right that any sample after it succeeded from."""
    dtype: Literal["float64", "float32", "bfloat16"] = "float64"
    """In which it scores."""
    score_batch_size: int = runtime_only(256, ge=1)
    """Texts in one batch."""
    cache_mb: int = runtime_only(512, ge=0)
    """As ``qvm.cache_mb``."""
