r"""A policy that replays texts from a file: a run without weights, whose outcome is known.

The file is JSONL, a row per prompt::

    {"prompt": "Question: ...\nAnswer:\n", "texts": ["3 + 4 = 7\n#### 7", "3 + 4 = 8\n#### 8"]}

A sample is one of the texts of its prompt, each as likely as the others; one that goes on from
some steps (the prompt may end with them, too) is drawn among the texts that begin with them.
Temperature 0 takes the first of these, every other temperature is alike. A token is a line break,
or a word with the blanks before it; the end of a text is a token too.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.steps import StepSplit, as_sample
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote

EXAMPLE = '{"prompt": "1 2 > 3\\n", "texts": ["1 + 2 = 3 left 3", "2 - 1 = 1 left 1"]}'
TOKEN = re.compile(r"\n|[^\S\n]*\S+|[^\S\n]+")
Texts = Mapping[str, Sequence[str]]


class ScriptPolicy:
    """Replays the texts of a file.

    Args:
        path: of the file, or its ``s3://`` URI.

    Raises:
        UserError: it is missing, or a row is malformed; names the row.
    """

    batch_independent = True

    def __init__(self, path: str) -> None:
        content = _content(path)
        self.texts = _parse(path, content)
        self.fingerprint = _identity(content)

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        """Samples of every request; see ``qstar_core.policies.Policy``.

        Raises:
            ValueError: the file has no text that goes on from there.
        """
        answers = []
        for request in requests:
            known, written = self._known(request.prompt, request.written)
            going_on = [text for text in known if text.startswith(written)]
            if not going_on:
                raise ValueError(f"the script has no text that begins with {request.text!r:.200}")
            samples = [_draw(request, going_on, len(written), seed) for seed in request.seeds]
            if done is not None:
                done(len(samples), sum(sample.tokens for sample in samples))
            answers.append(samples)
        return answers

    def _known(self, prompt: str, written: str) -> tuple[Sequence[str], str]:
        """The texts of a prompt, which may have the steps so far at its end, and these steps."""
        while prompt and prompt not in self.texts:
            prompt, written = prompt[:-1], prompt[-1] + written
        return self.texts.get(prompt, ()), written


def _draw(request: SampleRequest, texts: Sequence[str], place: int, seed: int) -> Sample:
    """One of the texts, from that place on as far as the request allows."""
    taken = texts[0] if request.temperature == 0 else random.Random(seed).choice(texts)
    tokens = TOKEN.findall(taken[place:])
    split = StepSplit(request)
    for token in [*tokens, ""]:  # the last one is the end of the text
        split.take("\n" in token, eos=not token)
        if split.finish:
            break
    logprobs = _logprobs(texts, place, tokens[: split.length])
    return as_sample(split, logprobs, lambda start, end: "".join(tokens[start:end]))


def _logprobs(texts: Sequence[str], place: int, tokens: Sequence[str]) -> list[float]:
    """Of each token and of the end: the share of the texts so far that go on with it."""
    found = []
    for token in [*tokens, ""]:
        same = [t for t in texts if (t.startswith(token, place) if token else len(t) == place)]
        found.append(math.log(len(same) / len(texts)) if same else 0.0)
        texts, place = same or texts, place + len(token)
    return found


def identity(path: str) -> str:
    """The fingerprint of the policy that replays a file: that of its content.

    Raises:
        UserError: it is missing, or a row is malformed; names the row.
    """
    content = _content(path)
    _parse(path, content)
    return _identity(content)


def _identity(content: bytes) -> str:
    return content_id("scripted", sha256(content).hexdigest())


def _content(path: str) -> bytes:
    try:
        if is_remote(path):
            folder, _, name = path.rpartition("/")
            store = open_store(folder)
            store.check("policy.path")
            return store.read(name)
        return Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(
            f"policy.path: no such file: {path}, which policy.backend: scripted replays",
            next_step=f"write a row per prompt, for example {EXAMPLE}",
        ) from error


@lru_cache(maxsize=2)
def _parse(path: str, content: bytes) -> Texts:
    texts: dict[str, list[str]] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            prompt, added = _row(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            step = f"mend row {number}; a right one: {EXAMPLE}"
            raise UserError(
                f"policy.path: {path}, row {number}: {error}", next_step=step
            ) from error
        texts.setdefault(prompt, []).extend(added)
    return texts


def _row(row: object) -> tuple[str, list[str]]:
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    prompt, texts = row.get("prompt"), row.get("texts")
    if not isinstance(prompt, str):
        raise TypeError("prompt must be a text")
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise TypeError("texts must be a list of at least one text")
    return prompt, texts
