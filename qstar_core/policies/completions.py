"""From a request to a body for ``/v1/completions``, and from its answer to a sample.

Two dialects: that of vLLM, and what OpenAI documents and every other server speaks. Neither needs
a tokenizer here: a server says the text of each token beside its log-probability.

1. A token whose text contains a newline ends a step, as in the local engines. The texts of the
   tokens need not add up to the text (word-level and sentencepiece tokenizers drop spaces), so
   steps are cut out of the whole text: at its newlines, which no tokenizer drops, and between
   newlines at the tokens found one after the other. The pieces always add up to the text.
2. vLLM says why it stopped, so a proposal of one step is stopped at its newline. Other servers do
   not say whether a stop string or the end of the text came first: they are not given one, and
   tokens after the last step are dropped (`Sample.surplus`).
3. A server that counts the end-of-text token but does not list it gives it no log-probability;
   it counts as a token with log-probability 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qstar_core.errors import UserError
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.steps import StepSplit, as_sample

Dialect = Literal["vllm", "openai"]
LONGER = "lower rollouts.max_new_tokens or serve with a larger --max-model-len"
UNKNOWN = "\ufffd"  # what a decoder shows for a part of a character


class BadAnswer(Exception):
    """An answer that is broken off or not of the protocol; another try may bring a good one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion as the server tells it.

    Attributes:
        text: without the stop string and without the end of text.
        tokens: text of each token generated.
        logprobs: of each of them at temperature 1, nats.
        ended: whether the policy ended the text.
        cut: whether a stop string, left out of the text, ended it.
        prompt_tokens: of the prompt; 0 where the server does not say.
    """

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    ended: bool
    cut: bool = False
    prompt_tokens: int = 0


def token_limit(ask: SampleRequest) -> int:
    """Tokens that one sample can take at most."""
    most = ask.max_new_tokens
    return min(most, ask.max_steps * ask.rule.tokens) if ask.rule.tokens else most


def stops_at_newline(ask: SampleRequest) -> bool:
    """Whether the first newline ends the sample."""
    return ask.rule.newline and ask.max_steps == 1


def body(
    ask: SampleRequest,
    seed: int,
    model: str,
    prompt: str,
    dialect: Dialect,
    templated: bool = False,
) -> dict[str, Any]:
    """The arguments of one completion, those that a checkpoint's own settings would fill included.

    Args:
        ask: the request.
        seed: of the sample.
        model: as the servers name it.
        prompt: the text to continue.
        dialect: of the server.
        templated: the prompt has its special tokens already.
    """
    common: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "max_tokens": token_limit(ask),
        "temperature": ask.temperature,
        "top_p": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "seed": seed,
        "n": 1,
    }
    if dialect == "openai":
        return {**common, "logprobs": 1}
    neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    extra = {**neutral, "skip_special_tokens": False, "add_special_tokens": not templated}
    stop = {"stop": ["\n"]} if stops_at_newline(ask) else {}
    return {**common, "logprobs": 0, **stop, "extra_body": extra}


def read_choice(answer: Any, dialect: Dialect) -> Choice:
    """The one choice of an answer.

    Args:
        answer: ``openai.types.Completion``, which the client does not check.
        dialect: of the server.

    Raises:
        BadAnswer: it is broken off (the server is shutting down) or incomplete.
    """
    choices = getattr(answer, "choices", None)
    if not choices:
        raise BadAnswer("an answer without a completion")
    [choice, *_] = choices
    if choice.finish_reason not in ("stop", "length"):
        raise BadAnswer(f"a completion that was broken off ({choice.finish_reason})")
    told = choice.logprobs
    tokens = tuple((told and told.tokens) or ())
    logprobs = tuple((told and told.token_logprobs) or ())
    if len(tokens) != len(logprobs) or None in logprobs:
        raise BadAnswer("a completion without the log-probabilities of its tokens")
    text, stopped = choice.text or "", choice.finish_reason == "stop"
    asked = int(getattr(answer.usage, "prompt_tokens", None) or 0)
    if dialect == "vllm":
        cut = isinstance(getattr(choice, "stop_reason", None), str)
        return Choice(text, tokens, logprobs, stopped and not cut, cut, asked)
    if stopped and not _lists_its_end(text, tokens):
        tokens, logprobs = (*tokens, ""), (*logprobs, 0.0)
    return Choice(text, tokens, logprobs, stopped, prompt_tokens=asked)


def _lists_its_end(text: str, tokens: Sequence[str]) -> bool:
    """Whether the last token is the end of the text: the tokens before it make up all of it."""
    if not tokens:
        return False
    reached = token_ends(text, tokens)
    before = reached[-2] if len(reached) > 1 else 0
    return not text[before:].strip() if tokens[-1].strip() else not text[before:]


def token_ends(text: str, tokens: Sequence[str]) -> list[int]:
    """For each token the place in the text where it ends, ascending.

    Args:
        text: what the tokens say together.
        tokens: the text of each alone, perhaps without its leading space, or unknown.
    """
    ends, at, skipped = [], 0, False
    for token in tokens:
        if "\n" in token:
            at, skipped = _after_newlines(text, token, at), False
        elif token and UNKNOWN not in token:
            line = text.find("\n", at)
            found = text.find(token, at, len(text) if line < 0 else line)
            if found >= 0 and (skipped or not text[at:found].strip()):
                at, skipped = found + len(token), False
            else:
                skipped = True
        elif token:
            skipped = True
        ends.append(at)
    return ends


def _after_newlines(text: str, token: str, at: int) -> int:
    """The place after a token that has newlines."""
    for _ in range(token.count("\n")):
        at = text.find("\n", at) + 1
        if at == 0:
            return len(text)
    tail = token[token.rindex("\n") + 1 :]
    return at + len(tail) if text.startswith(tail, at) else at


def read_sample(choice: Choice, ask: SampleRequest, context: int | None = None) -> Sample:
    """The steps of a completion, split as the local engines do.

    Args:
        choice: the completion.
        ask: the request it answers.
        context: tokens that the server can hold, if it says so.

    Raises:
        UserError: the prompt and the tokens asked for do not fit the context; a server may have
            generated fewer instead.
    """
    if context is not None and choice.prompt_tokens + ask.max_new_tokens > context:
        raise UserError(
            f"a prompt of {choice.prompt_tokens} tokens and {ask.max_new_tokens} new ones exceed "
            f"the server's context of {context}",
            next_step=LONGER,
        )
    words = choice.tokens[:-1] if choice.ended else choice.tokens
    text = choice.text + (_cut_off(words) if choice.cut else "")
    split = StepSplit(ask)
    for word in words:
        split.take("\n" in word, False)
        if split.finish:
            break
    if not split.finish and choice.ended:
        split.take(False, True)
    if not split.finish:
        if split.length < token_limit(ask):
            raise UserError(
                f"the server ended a sample after {split.length} of {token_limit(ask)} tokens: "
                "its context is too short",
                next_step=LONGER,
            )
        split.close()
    cuts = [0, *token_ends(text, words)]
    if words:
        cuts[-1] = len(text)
    return as_sample(
        split, choice.logprobs, lambda start, end: text[cuts[start] : cuts[end]], len(choice.tokens)
    )


def _cut_off(words: Sequence[str]) -> str:
    """What a stop at the newline left out of the text: the newline and the rest of its token."""
    last = next((word for word in words if "\n" in word), "\n")
    return last[last.index("\n") :]
