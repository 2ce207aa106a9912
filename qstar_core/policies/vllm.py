"""The offline engine of vLLM as a policy: continuous batching, prefix cache, GPUs or CPU.

vLLM lives in an environment of its own (docs/adr/0007); this module is imported only by a worker
that runs there.

1. Every sample is a request with its own seed. The random numbers of a sample then depend on its
   seed alone, but its distributions depend on the batch it was computed in by rounding, so equal
   samples in any batch are not promised; `qstar_core.rollouts.drift` measures the difference.
2. vLLM can stop at a token but not at the third newline. A request for one step ends at its
   newline. One for more runs to the end of the text or to its limit and is cut; what was cut off
   is the sample's surplus and paid for.
3. The engine runs in this process, so that requests are scheduled in the order they are asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError
from qstar_core.policies import Sample, SampleRequest, vllm_engine
from qstar_core.policies.identity import policy_fingerprint
from qstar_core.policies.steps import split_tokens
from qstar_core.policies.text import Vocabulary

Done = Callable[[int, int], None]

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
MAX_TEMPERATURE = 2.0  # vLLM takes no higher one


class VllmPolicy:
    """A causal LM from a local folder, in vLLM.

    Args:
        folder: the checkpoint.
        dtype: numeric precision: float32, float16 or bfloat16.
        batch_size: sequences in flight.
        chat: ask the prompt through the tokenizer's chat template.
        lora: folder of a LoRA adapter (PEFT, safetensors).
        engine: further arguments of ``vllm.LLM``.

    Raises:
        UserError: vLLM is not installed, does not know an argument, or does not start.
    """

    batch_independent = False

    def __init__(
        self,
        folder: Path,
        dtype: str,
        batch_size: int = 256,
        *,
        chat: bool = False,
        lora: Path | None = None,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(engine or {})
        self.fingerprint = policy_fingerprint(
            folder, dtype, backend="vllm", chat=chat, lora=lora, engine=given
        )
        self.vocabulary = Vocabulary(folder, chat)
        arguments = {
            "model": str(folder),
            "dtype": dtype,
            "max_num_seqs": batch_size,
            "logprobs_mode": "raw_logprobs",  # those of temperature 1
            "generation_config": "vllm",  # what ends a text is said in each request
            **vllm_engine.whole_prompts_on_cpu("policy"),
            **(_lora_arguments(lora) if lora is not None else {}),
        }
        self.llm = vllm_engine.start("policy", given, arguments)
        self.context = int(self.llm.model_config.max_model_len)
        self._lora = None
        if lora is not None:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, str(lora))

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        """Samples of every request; see `qstar_core.policies.Policy.sample`.

        Raises:
            UserError: a prompt is empty, does not fit the context with the tokens asked for, or
                the temperature is above `MAX_TEMPERATURE`.
        """
        prompts = self.vocabulary.encode(requests, self.context)
        places = [(number, k) for number, ask in enumerate(requests) for k in range(len(ask.seeds))]
        names = self.llm.enqueue(
            [{"prompt_token_ids": list(prompts[number])} for number, _ in places],
            [self._parameters(requests[number], k) for number, k in places],
            lora_request=self._lora,
            use_tqdm=False,
        )
        # requests are numbered in the order in which they are added; what follows "-" is random
        waiting = dict(zip((int(name.partition("-")[0]) for name in names), places, strict=True))
        answers: list[list[Sample | None]] = [[None] * len(ask.seeds) for ask in requests]
        for outputs in vllm_engine.steps(self.llm, names):
            tokens = 0
            for output in outputs:
                number, k = waiting.pop(int(output.request_id))
                [drawn] = output.outputs
                answers[number][k] = self._sample(requests[number], prompts[number], drawn)
                tokens += len(drawn.token_ids)
            if done is not None:
                done(len(outputs), tokens)
        return [[s for s in drawn if s is not None] for drawn in answers]

    def _parameters(self, ask: SampleRequest, k: int) -> Any:
        from vllm import SamplingParams

        if ask.temperature > MAX_TEMPERATURE:
            raise UserError(
                f"vLLM samples at temperatures up to {MAX_TEMPERATURE:g}, not {ask.temperature:g}",
                next_step="lower it, or set policy.backend to transformers",
            )
        one_step = ask.max_steps == 1 and ask.rule.newline
        stops = self.vocabulary.eos | self.vocabulary.newlines if one_step else self.vocabulary.eos
        most = ask.max_new_tokens
        if ask.rule.tokens:
            most = min(most, ask.max_steps * ask.rule.tokens)
        return SamplingParams(
            temperature=ask.temperature,
            seed=ask.seeds[k],
            max_tokens=most,
            ignore_eos=True,  # the tokenizer's, which need not be the checkpoint's
            stop_token_ids=sorted(stops),
            logprobs=0,  # of the sampled token alone
            flat_logprobs=True,
            detokenize=False,
            skip_clone=True,  # no other request has this object
        )

    def _sample(self, ask: SampleRequest, prompt: Sequence[int], drawn: Any) -> Sample:
        tokens, flat = list(drawn.token_ids), drawn.logprobs
        logprobs = [flat.logprobs[start] for start in flat.start_indices]
        split = split_tokens(tokens, ask, self.vocabulary.newlines, self.vocabulary.eos)
        return self.vocabulary.sample(split, prompt, tokens, logprobs)


def _lora_arguments(adapter: Path) -> dict[str, Any]:
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    rank = int(settings.get("r", LORA_RANKS[0]))
    fitting = [most for most in LORA_RANKS if most >= rank]
    return {"enable_lora": True, "max_lora_rank": fitting[0] if fitting else rank}
