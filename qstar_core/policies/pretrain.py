"""Trains the embedded reference policy: a small Llama that plays countdown.

It reads from top to bottom: tokenizer, model, schedule, loop. The data are endless random plays
(`qstar_core.domains.countdown_plays`), never repeated, held-out problems left out. The result is
an ordinary Hugging Face folder: ``AutoModelForCausalLM`` and ``AutoTokenizer`` load it.

1. Hidden matrices are updated by Muon, everything else by AdamW; both with one learning rate that
   warms up, stays, and decays linearly to zero over the last ``decay`` share of the steps.
2. The loss is the mean cross-entropy over the tokens after the prompt; prompts are random and
   nothing is to be learned from them.
3. Each step holds plays of one length only, so nothing is padded.
4. Plays that follow an instruction (``instructed``) have the instruction between question and play;
   `qstar_core.domains.countdown_instructed` says which of its tokens are to be predicted. With
   ``questions`` each step has questions without a play too, whose loss is added: what is predicted
   after them is exact, the instructions that suit.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qstar_core.config import PretrainConfig
from qstar_core.domains import countdown, countdown_instructed
from qstar_core.domains import countdown_plays as plays
from qstar_core.mdp import Problem
from qstar_core.optimizers import TRAINING_ATTENTION, build_optimizers, update
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.precision import computes_in_bf16, training_device

log = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]
Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Token ids and labels, a play per row."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer: one token per number, operator and newline.

    Words are separated by single spaces, lines by a newline without spaces around it;
    decoding the encoding of such a text gives the text back.
    """
    vocabulary = {word: token for token, word in enumerate(plays.vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.Split(Regex(" +"), "removed"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(" \n", "\n"),
            decoders.Replace("\n ", "\n"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with tied embeddings and random weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def schedule(step: int, config: PretrainConfig) -> float:
    """Factor on the learning rate at a step: warm-up, plateau, linear decay to 0."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    left = (config.steps - step) / max(1.0, config.decay * config.steps)
    return min(warm, left, 1.0)


def naming_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, next_word: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of what comes after questions, nats.

    Args:
        model: in float32, whatever the plays are computed in.
        ids: [questions, length].
        next_word: [questions, words], the probability of each.
    """
    logits = model.lm_head(model.model(ids).last_hidden_state[:, -1])
    return cross_entropy(logits, next_word)


class PlayStream:
    """Endless batches of plays; each batch has one number of numbers, and one of lines."""

    def __init__(self, config: PretrainConfig, left_out: Sequence[Problem] = ()) -> None:
        self.config = config
        starts = (countdown.start(problem) for problem in left_out)
        self.rng = np.random.default_rng(config.seed)
        self.mixture = plays.Mixture(
            config.max_number,
            config.min_target,
            config.max_target,
            config.miss_share,
            config.fraction_weight,
            frozenset((tuple(map(int, numbers)), target) for numbers, target in starts),
        )
        self.keep = {
            n: plays.rarity(n, self.mixture, self.rng, config.rarity_plays, config.flatten)
            for n in config.numbers
            if n <= plays.FLATTEN_UP_TO and config.flatten > 0 and not config.instructed
        }
        self.buffers: dict[tuple[int, int], list[Rows]] = {}
        self.suited = (
            {n: countdown_instructed.suited(n, self.mixture) for n in config.numbers}
            if config.questions
            else {}
        )

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids [batch_size, length], and what is to be predicted after the question.

        The second is [batch_size, length - question], -100 where nothing is.
        """
        n = self._size()
        lines = int(self.rng.integers(1, n)) if self.config.instructed else n - 1
        held = self.buffers.setdefault((n, lines), [])
        while sum(len(ids) for ids, _ in held) < self.config.batch_size:
            held.append(self._drawn(32 * self.config.batch_size, n, lines))
        ids, labels = (np.concatenate(parts) for parts in zip(*held, strict=True))
        size = self.config.batch_size
        self.buffers[n, lines] = [(ids[size:], labels[size:])]
        return torch.from_numpy(ids[:size]), torch.from_numpy(labels[:size])

    def questions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids of questions, [questions, length], and how likely each word comes next.

        The second is [questions, words]: of the instructions that suit, one as likely as another.
        """
        found = self.suited[self._size()]
        rows = found.draw(self.config.questions, self.rng)
        return torch.from_numpy(found.ids[rows]), torch.from_numpy(found.next_word[rows])

    def _size(self) -> int:
        sizes = list(self.config.numbers)
        weights = np.array([self.config.numbers[n] for n in sizes], dtype=float)
        return int(self.rng.choice(sizes, p=weights / weights.sum()))

    def _drawn(self, count: int, n: int, lines: int) -> Rows:
        if self.config.instructed:
            found = countdown_instructed.draw(count, n, lines, self.mixture, self.rng)
            return found.ids, found.labels()
        ids = plays.draw(count, n, self.mixture, self.rng, self.keep.get(n))
        return ids, ids[:, n + 4 :]


def train(
    config: PretrainConfig, out: Path, report: Report, left_out: Sequence[Problem] = ()
) -> dict[str, float]:
    """Trains a policy from scratch and saves it as a Hugging Face folder.

    Args:
        config: sizes, mixture, steps.
        out: the folder for model and tokenizer; written every ``save_every`` steps.
        report: called with {"step", "of", "loss", "plays_per_second"} every 20 steps.
        left_out: problems that no play may be of, beside those of the test split.

    Returns:
        The last loss (nats per token), plays seen and seconds.
    """
    torch.manual_seed(config.seed)
    device = torch.device(training_device())
    tokenizer = build_tokenizer()
    if config.init is None:
        model = build_model(config, tokenizer)
    else:
        folder = resolve_checkpoint(config.init, "pretrain.init")
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.set_attn_implementation(TRAINING_ATTENTION[device.type])
    model.to(device)  # type: ignore[arg-type]
    optimizers = build_optimizers(model, config.learning_rate, config.weight_decay)
    stream = PlayStream(config, left_out)
    bf16 = computes_in_bf16(config.bf16)

    def loss_of(ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            hidden = model.model(ids[:, :-1]).last_hidden_state[:, -labels.shape[1] :]
            logits = model.lm_head(hidden)
        return cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    step_loss = torch.compile(loss_of, dynamic=False) if config.compile else loss_of
    start = time.monotonic()
    running: list[float] = []
    for step in range(config.steps):
        ids, labels = stream.batch()
        loss = step_loss(ids.to(device), labels.to(device))
        if config.questions:
            loss = loss + naming_loss(model, *(each.to(device) for each in stream.questions()))
        rate = config.learning_rate * schedule(step, config)
        running.append(update(model, optimizers, loss, rate))
        if (step + 1) % 20 == 0 or step + 1 == config.steps:
            seconds = time.monotonic() - start
            report(
                {
                    "step": step + 1,
                    "of": config.steps,
                    "loss": sum(running) / len(running),
                    "plays_per_second": (step + 1) * config.batch_size / seconds,
                }
            )
            last, running = sum(running) / len(running), []
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save(model, tokenizer, out, config.saved_as)
    seconds = time.monotonic() - start
    return {"loss": last, "plays": config.steps * config.batch_size, "seconds": seconds}


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    dtype: str = "float32",
) -> None:
    """Saves weights (safetensors) and the tokenizer, each file replaced atomically.

    Args:
        model: stays as it is.
        tokenizer: its own.
        out: the folder.
        dtype: what the weights are rounded to.
    """
    scratch = out.with_name(out.name + ".writing")
    rounded = model if dtype == "float32" else copy.deepcopy(model).to(getattr(torch, dtype))
    rounded.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    out.mkdir(parents=True, exist_ok=True)
    for file in scratch.iterdir():
        os.replace(file, out / file.name)
    scratch.rmdir()
