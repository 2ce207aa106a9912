"""A policy that reads its steps from a table: for tests, examples and worked-out cases."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from qstar_core.keys import content_id
from qstar_core.mdp import Step
from qstar_core.policies import Sample, SampleRequest


class ScriptedPolicy:
    """Samples the next step from a table of prompts.

    A step whose text does not end in a newline ends the text. A step costs its words plus one
    token for the newline or the end of text.

    Args:
        children: for each prompt, the texts that may come next with their weights (positive;
            they need not sum to 1).
    """

    batch_independent = True

    def __init__(self, children: Mapping[str, Sequence[tuple[str, float]]]) -> None:
        self.children = {prompt: list(options) for prompt, options in children.items()}
        self.fingerprint = content_id("scripted", self.children)

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        """Samples of every request; see ``qstar_core.policies.Policy``.

        Raises:
            ValueError: a prompt is not in the table, or the step rule is not the newline.
        """
        answers = []
        for request in requests:
            if request.rule.tokens or not request.rule.newline:
                raise ValueError("a scripted policy ends steps at newlines only")
            samples = [self._continue(request, seed) for seed in request.seeds]
            if done is not None:
                done(len(samples), sum(sample.tokens for sample in samples))
            answers.append(samples)
        return answers

    def _continue(self, request: SampleRequest, seed: int) -> Sample:
        rng = random.Random(seed)
        text, left = request.text, request.max_new_tokens
        steps: list[Step] = []
        while len(steps) < request.max_steps:
            step = self._draw(text, request.temperature, rng)
            if step.tokens > left:
                if left > 0:
                    steps.append(_cut(step, left))
                return Sample(tuple(steps), "length")
            steps.append(step)
            text, left = text + step.text, left - step.tokens
            if step.ended:
                return Sample(tuple(steps), "end")
        return Sample(tuple(steps), "steps")

    def _draw(self, prompt: str, temperature: float, rng: random.Random) -> Step:
        options = self.children.get(prompt)
        if not options:
            raise ValueError(f"no steps in the table for the prompt {prompt!r}")
        weights = [weight for _, weight in options]
        largest = max(weights)
        if temperature == 0:
            index = weights.index(largest)
        else:
            heated = [(weight / largest) ** (1 / temperature) for weight in weights]
            [index] = rng.choices(range(len(options)), heated)
        text = options[index][0]
        return Step(
            text=text,
            tokens=len(text.split()) + 1,
            logprob=math.log(weights[index] / sum(weights)),
            ended=not text.endswith("\n"),
        )


def _cut(step: Step, tokens: int) -> Step:
    """The first words of a step that is broken off; its log-probability is left unknown (0)."""
    return Step(" ".join(step.text.split()[:tokens]), tokens)
