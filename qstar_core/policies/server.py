"""OpenAI-compatible completions servers as a policy, such as one ``vllm serve`` per GPU.

Prompts and samples are text on both sides, so neither torch nor, unless prompts go through a chat
template, a tokenizer is needed here. See `completions` for how steps are found in a text, and
`fleet` for what happens when a server fails.

1. Every distinct seed is a request of its own; at temperature 0 all samples of a request are one.
2. Log-probabilities are those of temperature 1 where the server reports them before it applies
   the temperature: ``vllm serve`` does unless it is started with another ``--logprobs-mode``.
3. When a request fails for good, the answers to the others are kept in memory until they are asked
   for again: the halves of a failing group take them, and only what is missing is sent.
4. Weights and precision are those the servers were started with. They cannot be checked from here;
   that all of them serve a model under one name is.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from qstar_core.config import PolicyConfig
from qstar_core.errors import EngineUnavailable, UserError
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.completions import Dialect, body, read_sample
from qstar_core.policies.fleet import Fleet
from qstar_core.policies.served import local_folder, model_name, served_fingerprint

Done = Callable[[int, int], None]
T = TypeVar("T")
Job = tuple[int, str, int, list[int]]
"""Number of the request, its text, a seed, and the places of the samples that have it."""
Asked = tuple[Any, ...]
"""All that decides one sample: text, seed and limits."""


class ServerPolicy:
    """A fleet of servers of one causal LM.

    Args:
        config: the policy; ``server`` has the addresses.

    Raises:
        UserError: an address is malformed, or there is no chat template.
    """

    batch_independent = False

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config
        self.fingerprint = served_fingerprint(config)
        self.fleet = Fleet(config.server, model_name(config))
        self._template = _chat_template(config) if config.chat else None
        self._runner = asyncio.Runner()
        self._room = asyncio.Semaphore(config.server.concurrency)
        self._kept: dict[Asked, Sample] = {}

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        """Samples of every request; see `qstar_core.policies.Policy.sample`.

        Not to be called where an event loop runs: there, await `sample_async`.

        Raises:
            UserError: a prompt is empty or refused by the servers, such as one that does not fit
                the context.
            EngineUnavailable: the servers are gone, refuse the key or serve another model.
        """
        return self.run(self.sample_async(requests, done))

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine, which may await `sample_async`, in the event loop of the connections.

        Not to be called where an event loop runs.
        """
        return self._runner.run(task)

    async def sample_async(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        """As `sample`, in the caller's event loop; always the same one for one policy (`run`).

        Any number of callers may wait at once; `concurrency` limits what is in flight for all of
        them together.
        """
        jobs = list(self._jobs(requests))
        answers: list[list[Sample | None]] = [[None] * len(ask.seeds) for ask in requests]
        waiting = iter(jobs)
        found: dict[Asked, Sample] = {}

        async def work() -> None:
            for number, text, seed, places in waiting:
                asked = _asked(requests[number], text, seed)
                kept = self._kept.pop(asked, None)
                sample = kept or await self._complete(requests[number], text, seed)
                found[asked] = sample
                for place in places:
                    answers[number][place] = sample
                if done is not None:  # the tokens of a kept one were told before
                    done(len(places), 0 if kept else len(places) * sample.tokens)

        await self.fleet.open()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.config.server.concurrency, len(jobs))):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            self._kept |= found
            raise _worst(errors) from None
        return [[s for s in drawn if s is not None] for drawn in answers]

    def _jobs(self, requests: Sequence[SampleRequest]) -> Iterator[Job]:
        for number, ask in enumerate(requests):
            if not ask.text:
                raise UserError("a prompt is empty", next_step="check the domain's prompts")
            text = ask.text if self._template is None else self._template(ask)
            places: dict[int, list[int]] = defaultdict(list)
            for place, seed in enumerate(ask.seeds):
                places[seed if ask.temperature > 0 else ask.seeds[0]].append(place)
            for seed, equal in places.items():
                yield number, text, seed, equal

    async def _complete(self, ask: SampleRequest, text: str, seed: int) -> Sample:
        def arguments(dialect: Dialect) -> dict[str, object]:
            templated = self._template is not None
            return body(ask, seed, self.fleet.model, text, dialect, templated)

        async with self._room:
            choice = await self.fleet.complete(arguments, text)
        return read_sample(choice, ask, self.fleet.context)

    def figures(self) -> dict[str, Any]:
        """For a receipt: engines of the servers, and failures tried again since the last call.

        A shard is finished then, so answers that are still kept are let go.
        """
        self._kept.clear()
        engines = sorted({server.engine for server in self.fleet.servers if server.engine})
        failures, self.fleet.failures = self.fleet.failures, Counter()
        return {"servers": {"engines": engines, "tried_again": dict(failures)}}

    def close(self) -> None:
        """Closes the connections; `sample` cannot be called again."""
        with self._runner:
            self._runner.run(self.fleet.close())


def _asked(ask: SampleRequest, text: str, seed: int) -> Asked:
    """What tells a sample from all others."""
    return (text, seed, ask.max_steps, ask.max_new_tokens, ask.temperature, ask.rule)


def _chat_template(config: PolicyConfig) -> Callable[[SampleRequest], str]:
    """What turns a request into the text of a chat; from the checkpoint's tokenizer."""
    folder = local_folder(config.path)
    if folder is None:
        raise UserError(
            f"policy.chat: the chat template of {config.path} is needed, which is not a folder",
            next_step="set policy.path to a folder with the checkpoint's tokenizer and weights",
        )
    from qstar_core.policies.text import Vocabulary

    return Vocabulary(folder, chat=True).asked


def _worst(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of several errors the one that says most."""
    kinds = (EngineUnavailable, UserError, BaseException)
    return next(e for kind in kinds for e in errors.exceptions if isinstance(e, kind))
