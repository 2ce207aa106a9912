"""Between text and tokens: prompts and chat templates in, step texts out, for local engines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.steps import StepSplit, as_sample

KEPT_TEXTS = 1_000_000  # step texts kept, so that equal steps are decoded once


class Vocabulary:
    """A checkpoint's tokenizer and what sampling has to know of its tokens.

    Args:
        folder: the checkpoint.
        chat: ask the prompt through the tokenizer's chat template.

    Raises:
        UserError: ``chat`` and the tokenizer has no chat template.
    """

    def __init__(self, folder: Path, chat: bool = False) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.chat = chat
        if chat and not self.tokenizer.chat_template:
            raise UserError(
                f"policy.chat: the tokenizer of {folder} has no chat template",
                next_step="set policy.chat to false, or name a checkpoint made for chats",
            )
        self.eos = _eos_tokens(folder, self.tokenizer)
        texts = self.tokenizer.batch_decode([[k] for k in range(len(self.tokenizer))])
        self.newlines = {token for token, text in enumerate(texts) if "\n" in text}
        self._texts: dict[tuple[int, ...], str] = {}

    def encode(self, asks: Sequence[SampleRequest], context: int) -> list[tuple[int, ...]]:
        """The prompt of every request in tokens.

        Args:
            asks: the requests.
            context: tokens that the engine can hold, prompt and answer together.

        Raises:
            UserError: a prompt is empty, or does not fit the context with the tokens asked for.
        """
        if not asks:
            return []
        texts = [self.asked(ask) for ask in asks]
        found = self.tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]
        for ask, ids in zip(asks, found, strict=True):
            if not ask.text or not ids:
                raise UserError("a prompt is empty", next_step="check the domain's prompts")
            if len(ids) + ask.max_new_tokens > context:
                raise UserError(
                    f"a prompt of {len(ids)} tokens and {ask.max_new_tokens} new ones exceed the "
                    f"model's context of {context}",
                    next_step="lower rollouts.max_new_tokens or use a model with a longer context",
                )
        return [tuple(ids) for ids in found]

    def asked(self, ask: SampleRequest) -> str:
        """The text that the model is given, the chat template around it if there is one."""
        if not self.chat or not ask.text:
            return ask.text
        question = [{"role": "user", "content": ask.prompt}]
        template = self.tokenizer.apply_chat_template
        return str(template(question, add_generation_prompt=True, tokenize=False)) + ask.written

    def sample(
        self,
        split: StepSplit,
        prompt: Sequence[int],
        tokens: Sequence[int],
        logprobs: Sequence[float],
    ) -> Sample:
        """The sample of some tokens whose steps are known.

        Args:
            split: where the steps end; tokens after the last one are the sample's surplus.
            prompt: the tokens before.
            tokens: all that the engine generated.
            logprobs: of each of them at temperature 1, nats.
        """

        def text(start: int, end: int) -> str:
            return self.text(tokens[start - 1] if start else prompt[-1], tokens[start:end])

        return as_sample(split, logprobs, text, len(tokens))

    def text(self, previous: int, tokens: Sequence[int]) -> str:
        """The text of some tokens after another one (tokenizers treat a first token apart)."""
        key = (previous, *tokens)
        if key not in self._texts:
            if len(self._texts) > KEPT_TEXTS:
                self._texts.clear()
            before, both = (str(self.tokenizer.decode(t)) for t in ([previous], list(key)))
            self._texts[key] = both[len(before) :]
        return self._texts[key]


def _eos_tokens(folder: Path, tokenizer: Any) -> set[int]:
    """The tokens that end a text, as the checkpoint's generation settings have them."""
    from transformers import AutoConfig, GenerationConfig

    if (folder / "generation_config.json").is_file():
        settings = GenerationConfig.from_pretrained(folder)
    else:
        settings = GenerationConfig.from_model_config(
            AutoConfig.from_pretrained(folder, trust_remote_code=False)
        )
    eos = settings.eos_token_id
    eos = tokenizer.eos_token_id if eos is None else eos
    return set(eos) if isinstance(eos, list) else {eos}
