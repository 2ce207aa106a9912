"""Who proposes steps. Every engine answers the same request in the same way.

The unit is the *step*: a piece of text that ends with a newline token or after a fixed number of
tokens. A request asks for n samples of up to ``max_steps`` steps that continue a prompt; one step
is a proposal for a search, all of them are a rollout. Each sample has a random stream of its own,
from its own seed, so the answer depends neither on the batch nor on the order.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from qstar_core.mdp import Step

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepRule:
    """Where a step ends.

    Attributes:
        newline: a token that contains a newline ends the step.
        tokens: this many tokens end the step; 0 means no such limit.
    """

    newline: bool = True
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """n samples that continue a prompt.

    Attributes:
        prompt: the question, or the whole text so far.
        seeds: one 63-bit seed per sample wanted; see ``qstar_core.keys.sample_seed``.
        max_steps: steps per sample at most.
        max_new_tokens: tokens per sample at most, the end-of-text token included.
        temperature: 0 is greedy (all samples equal).
        rule: where a step ends.
        written: the steps so far, which follow the prompt. A chat model is asked the prompt and
            goes on with an answer that begins with them; to any other it makes no difference.
    """

    prompt: str
    seeds: tuple[int, ...]
    max_steps: int
    max_new_tokens: int
    temperature: float
    rule: StepRule = StepRule()
    written: str = ""

    @property
    def text(self) -> str:
        """The whole text so far: the prompt and the steps that follow it."""
        return self.prompt + self.written


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled continuation.

    Attributes:
        steps: the steps; the last one may be unfinished when ``finish`` is ``"length"``.
        finish: ``"end"`` (end of text), ``"steps"`` (max_steps reached) or ``"length"``.
        surplus: tokens that were generated after the last step and dropped, by engines that
            cannot stop at the end of a step.
    """

    steps: tuple[Step, ...]
    finish: str
    surplus: int = 0

    @property
    def tokens(self) -> int:
        """Policy tokens the sample took, those dropped included: they are paid for."""
        return sum(step.tokens for step in self.steps) + self.surplus


class Policy(Protocol):
    """An engine with a model in it."""

    fingerprint: str
    """Content hash of weights, tokenizer and numeric precision: all that shapes a sample."""
    batch_independent: bool
    """Whether the engine promises the same sample for the same seed in any batch."""

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        """Samples of every request, in the order of the requests and of their seeds.

        Args:
            requests: any number; the engine batches them as it likes.
            done: called with (samples finished since the last call, their tokens).
        """
        ...


@runtime_checkable
class AsyncPolicy(Policy, Protocol):
    """An engine that works on many requests at once, whoever sends them and whenever."""

    async def sample_async(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        """As `Policy.sample`; others may ask meanwhile. To be awaited inside of `run`."""
        ...

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the event loop of this policy; its result or exception."""
        ...
