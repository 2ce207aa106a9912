"""The real engine on the reference checkpoint. Collected only where vLLM is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qstar_core.errors import UserError
from qstar_core.policies import Policy, SampleRequest, StepRule
from qstar_core.policies.checkpoint import resolve_adapter
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.policies.vllm import VllmPolicy
from tests.policies.contract import COUNTDOWN, FOLDER, PolicyContract

EAGER = {"enforce_eager": True}
RANK, SCALE = 4, 2.0
QUERY = "model.layers.0.self_attn.q_proj"


class TestVllm(PolicyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        return VllmPolicy(FOLDER, "float32", 64, engine=EAGER)

    def test_what_is_cut_off_is_paid_for(self, policy: Policy) -> None:
        request = SampleRequest(COUNTDOWN[0], tuple(range(8)), 2, 60, 1.0)
        for sample in policy.sample([request])[0]:
            assert (sample.finish == "steps") == (sample.surplus > 0)
            assert sample.tokens <= 60

    def test_a_limit_by_tokens_is_not_overrun(self, policy: Policy) -> None:
        rule = StepRule(newline=True, tokens=3)
        request = SampleRequest(COUNTDOWN[0], tuple(range(8)), 2, 60, 1.0, rule)
        for sample in policy.sample([request])[0]:
            assert sample.tokens <= 6 and all(step.tokens <= 3 for step in sample.steps)

    def test_a_temperature_that_vllm_refuses(self, policy: Policy) -> None:
        good = SampleRequest(COUNTDOWN[0], (1,), 1, 9, 2.0)
        with pytest.raises(UserError, match="temperatures up to 2, not 3"):
            policy.sample([good, SampleRequest(COUNTDOWN[0], (1,), 1, 9, 3.0)])
        assert len(policy.sample([good])[0]) == 1

    def test_an_interrupted_call_leaves_nothing_behind(self, policy: Policy) -> None:
        def stop(samples: int, tokens: int) -> None:
            raise KeyboardInterrupt

        requests = self.asks()
        with pytest.raises(KeyboardInterrupt):
            policy.sample(requests, stop)
        assert isinstance(policy, VllmPolicy)
        assert not policy.llm.llm_engine.has_unfinished_requests()
        assert [len(drawn) for drawn in policy.sample(requests)] == [4] * len(requests)


def test_prompts_that_do_not_fit_into_one_step() -> None:
    engine = {"max_model_len": 128, "max_num_batched_tokens": 128, **EAGER}
    policy = VllmPolicy(FOLDER, "float32", 64, engine=engine)
    long = "\n".join(["1 2 3 4 > 10", *["1 + 2 = 3 | 3 3 4"] * 4]) + "\n"
    requests = [SampleRequest(long[k:], (1, 2), 1, 8, 1.0) for k in range(6)]
    assert [len(drawn) for drawn in policy.sample(requests)] == [2] * 6


@pytest.mark.parametrize(
    ("engine", "what", "step"),
    [
        ({"tensor_paralel_size": 2}, "no such engine argument", "tensor_parallel_size"),
        ({"max_model_len": 100_000, **EAGER}, "does not start.*max_model_len", "policy.engine"),
        ({"kv_cache_memory_bytes": 10, **EAGER}, "does not start", "policy.engine"),
    ],
)
def test_what_the_engine_refuses_is_said(engine: dict[str, Any], what: str, step: str) -> None:
    with pytest.raises(UserError, match=f"(?s){what}") as refused:
        VllmPolicy(FOLDER, "float32", engine=engine)
    assert step in refused.value.next_step


def adapter(folder: Path) -> Path:
    """A LoRA adapter for one matrix, as PEFT saves it."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    names = {"lora_A": (RANK, 128), "lora_B": (128, RANK)}
    tensors = {
        f"base_model.model.{QUERY}.{name}.weight": torch.randn(shape, generator=generator) * 0.3
        for name, shape in names.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": SCALE * RANK,
        "target_modules": ["q_proj"],
        "bias": "none",
        "base_model_name_or_path": str(FOLDER),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return resolve_adapter(str(folder))


def merged(folder: Path, lora: Path, template: str) -> Path:
    """The reference checkpoint with the adapter added to its weights, and a chat template."""
    shutil.copytree(FOLDER, folder)
    (folder / "chat_template.jinja").write_text(template)
    weights, delta = (
        load_file(folder / "model.safetensors"),
        load_file(lora / "adapter_model.safetensors"),
    )
    a, b = (delta[f"base_model.model.{QUERY}.lora_{name}.weight"] for name in "AB")
    weights[f"{QUERY}.weight"] = weights[f"{QUERY}.weight"] + SCALE * b @ a
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


CHILD = """
import json, sys
from pathlib import Path
from qstar_core.policies import SampleRequest
from qstar_core.policies.vllm import VllmPolicy
folder, lora, prompts = json.loads(sys.argv[1])
policy = VllmPolicy(
    Path(folder), "float32", chat=True, lora=Path(lora), engine={"enforce_eager": True}
)
asks = [SampleRequest(p, (0,), 3, 40, 0.0, written=w) for p, w in prompts]
steps = [[s.text for s in drawn[0].steps] for drawn in policy.sample(asks)]
print("ANSWER", json.dumps([policy.fingerprint, steps]))
"""


def test_adapter_and_chat_template_equal_those_of_merged_weights(tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora")
    template = "{% for m in messages %}{{ m.content }}{% endfor %}2 + 3 = 5 | 7 5 > 12\n"
    whole = merged(tmp_path / "merged", lora, template)
    base = tmp_path / "base"
    shutil.copytree(FOLDER, base)
    (base / "chat_template.jinja").write_text(template)
    prompts = [(p, "") for p in COUNTDOWN[:8]] + [(COUNTDOWN[0], "7 + 5 = 12 | 12 > 12\n")]
    done = subprocess.run(  # a second engine does not go into this process
        [sys.executable, "-c", CHILD, json.dumps([str(base), str(lora), prompts])],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    name, steps = json.loads(line.removeprefix("ANSWER"))
    asks = [SampleRequest(p, (0,), 3, 40, 0.0, written=w) for p, w in prompts]

    def answers(folder: Path, chat: bool) -> list[list[str]]:
        engine = TransformersPolicy(folder, "float64", "cpu", 64, chat)
        return [[s.text for s in drawn[0].steps] for drawn in engine.sample(asks)]

    assert steps == answers(whole, chat=True)
    assert steps != answers(whole, chat=False)
    assert steps != answers(base, chat=True)
    assert name != TransformersPolicy(base, "float32", "cpu", 64, True).fingerprint
