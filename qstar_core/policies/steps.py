"""Where the steps of a sample end: the one place that says so, for every engine.

An engine that draws token by token calls `StepSplit.take` after each; one that gets a whole
sequence back calls `split_tokens`. Either way `as_sample` makes the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Step
from qstar_core.policies import Sample, SampleRequest, StepRule

LOGPROB_DECIMALS = 5  # log-probabilities are rounded so that equal samples give equal rows


def step_rule(domain: str) -> StepRule:
    """Where the steps of a domain end: after so many tokens where it says so, else with a line.

    Args:
        domain: a key of `qstar_core.domains.DOMAINS`.
    """
    tokens = getattr(DOMAINS[domain], "STEP_TOKENS", 0)
    return StepRule(newline=not tokens, tokens=tokens)


@dataclass(slots=True)
class StepSplit:
    """The steps of one sample in the making.

    Attributes:
        ask: the request; its rule, ``max_steps`` and ``max_new_tokens`` are the limits.
        length: tokens taken so far.
        ends: token counts at which steps end, ascending.
        finish: see `qstar_core.policies.Sample`; empty while the sample goes on.
    """

    ask: SampleRequest
    length: int = 0
    ends: list[int] = field(default_factory=list)
    finish: str = ""

    def take(self, newline: bool, eos: bool) -> None:
        """Counts a token.

        Args:
            newline: its text contains a newline.
            eos: it is the end of the text.
        """
        self.length += 1
        rule = self.ask.rule
        in_step = self.length - (self.ends[-1] if self.ends else 0)
        if eos or (rule.newline and newline) or (rule.tokens and in_step >= rule.tokens):
            self.ends.append(self.length)
        if eos:
            self.finish = "end"
        elif len(self.ends) >= self.ask.max_steps:
            self.finish = "steps"
        elif self.length >= self.ask.max_new_tokens:
            self.close()

    def close(self) -> None:
        """Ends the sample where it stands: there will be no more tokens."""
        self.finish = "length"
        if self.length and (not self.ends or self.ends[-1] < self.length):
            self.ends.append(self.length)


def split_tokens(
    tokens: Sequence[int], ask: SampleRequest, newlines: Collection[int], eos: Collection[int]
) -> StepSplit:
    """Splits a whole sequence; tokens after the sample's end are left alone.

    Args:
        tokens: what the engine generated, a closing end-of-text token included.
        ask: the request it was generated for.
        newlines: the tokens whose text contains a newline.
        eos: the end-of-text tokens.
    """
    split = StepSplit(ask)
    for token in tokens:
        split.take(token in newlines, token in eos)
        if split.finish:
            return split
    split.close()
    return split


def as_sample(
    split: StepSplit,
    logprobs: Sequence[float],
    text: Callable[[int, int], str],
    generated: int | None = None,
) -> Sample:
    """The sample of a finished split.

    Args:
        split: where its steps end.
        logprobs: of every token at temperature 1, nats.
        text: gives the text of the tokens from one position up to another, which it leaves out;
            an end-of-text token is never asked for.
        generated: tokens that the engine generated; those past the split are the surplus.
    """
    steps = []
    for start, end in pairwise([0, *split.ends]):
        ended = split.finish == "end" and end == split.length
        logprob = round(sum(logprobs[start:end]), LOGPROB_DECIMALS)
        steps.append(Step(text(start, end - ended), end - start, logprob, ended))
    surplus = 0 if generated is None else generated - split.length
    return Sample(tuple(steps), split.finish, surplus)
