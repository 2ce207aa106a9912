"""Any Hugging Face causal LM as a policy: batched, KV-cached sampling of steps and rollouts.

The prompt of a request is computed once for all of its samples, see `decoding`. Rows that have
ended leave the batch when they are a quarter of it. Rows are sorted by the length of their prompts,
and much longer ones start a batch of their own, so that little is padded. See `sampling` for why
the samples do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.batching import in_batches
from qstar_core.policies.decoding import ATTENTION, Decoding, use_attention
from qstar_core.policies.identity import policy_fingerprint
from qstar_core.policies.sampling import draw, uniforms
from qstar_core.policies.steps import StepSplit
from qstar_core.policies.text import Vocabulary

Done = Callable[[int, int], None]

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def pick_device(name: str) -> torch.device:
    """The device a configuration names; ``auto`` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass
class Row:
    """One sample in the making."""

    request: int
    index: int
    prompt: tuple[int, ...]
    ask: SampleRequest
    split: StepSplit
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def take(self, token: int, logprob: float, newline: bool, eos: bool) -> None:
        """Appends a token and notes whether it ends a step or the sample."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.split.take(newline, eos)


class TransformersPolicy:
    """A causal LM from a local folder."""

    def __init__(
        self, folder: Path, dtype: str, device: str, batch_size: int, chat: bool = False
    ) -> None:
        self.device = pick_device(device)
        self.fingerprint = policy_fingerprint(folder, dtype, chat=chat)
        self.batch_independent = dtype == "float64"
        self.batch_size = batch_size
        self.vocabulary = Vocabulary(folder, chat)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=False
        )
        self.model.to(self.device)  # type: ignore[arg-type]
        self.model.eval()
        self.model.requires_grad_(False)
        self.context = int(self.model.config.max_position_embeddings)
        use_attention(self.model)
        self.together = self.model.config._attn_implementation == ATTENTION

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        """Samples of every request; see `qstar_core.policies.Policy.sample`.

        Raises:
            UserError: a prompt is empty, or does not fit the context with the tokens asked for.
        """
        rows = []
        prompts = self.vocabulary.encode(requests, self.context)
        for number, (ask, prompt) in enumerate(zip(requests, prompts, strict=True)):
            rows += [
                Row(number, index, prompt, ask, StepSplit(ask)) for index in range(len(ask.seeds))
            ]
        order = sorted(range(len(rows)), key=lambda r: (len(rows[r].prompt), rows[r].request))
        shortest_first = [rows[r] for r in order]
        for batch in in_batches(shortest_first, lambda row: len(row.prompt), self.batch_size):
            self._run(batch)
            if done is not None:
                done(len(batch), sum(len(row.tokens) for row in batch))
        answers: list[list[Sample]] = [[] for _ in requests]
        for row in rows:  # rows stand in the order of requests and seeds
            sample = self.vocabulary.sample(row.split, row.prompt, row.tokens, row.logprobs)
            answers[row.request].append(sample)
        return answers

    @torch.inference_mode()
    def _run(self, rows: list[Row]) -> None:
        """Samples a batch of rows to their ends."""
        decoding = Decoding(self.model, [row.prompt for row in rows], self.together)
        seeds = np.array([row.ask.seeds[row.index] for row in rows], dtype=np.uint64)
        temperature = torch.tensor([row.ask.temperature for row in rows], device=self.device)
        alive = list(range(len(rows)))  # rows[alive[b]] stands at batch position b
        newlines, eos = self.vocabulary.newlines, self.vocabulary.eos
        position = 0
        while True:
            uniform = torch.from_numpy(uniforms(seeds[alive], position)).to(self.device)
            tokens, logprobs = draw(decoding.logits, temperature[alive], uniform)
            pairs = zip(alive, tokens.tolist(), logprobs.tolist(), strict=True)
            for row, token, logprob in pairs:
                if not rows[row].split.finish:
                    rows[row].take(token, logprob, token in newlines, token in eos)
            keep = [b for b, row in enumerate(alive) if not rows[row].split.finish]
            if not keep:
                return
            if len(keep) <= 0.75 * len(alive):
                index = torch.tensor(keep, device=self.device)
                decoding.keep(index)
                tokens = tokens[index]
                alive = [alive[b] for b in keep]
            position += 1
            decoding.step(tokens)
