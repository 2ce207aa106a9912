"""Samples of a shard that was stopped: the next run takes them from here instead of the engine.

A sample is found by what it was asked with, its seed included, so that what goes on is what would
have gone on without the stop. One JSON line per request; a file that is not what it should be is
not used, since everything in it can be sampled again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from qstar_core.keys import content_id
from qstar_core.mdp import Step
from qstar_core.policies import Sample, SampleRequest

log = logging.getLogger(__name__)


class Journal:
    """The samples of one shard.

    Args:
        path: where they are kept between runs; nothing has to be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, list[Sample]] = _read(path) if path.is_file() else {}
        self._new: dict[str, list[Sample]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def get(self, policy: str, request: SampleRequest) -> list[Sample] | None:
        """What an earlier run has sampled; None where it has not.

        Args:
            policy: its fingerprint.
            request: to it.
        """
        return self._found.get(_key(policy, request)) if self._found else None

    def add(self, policy: str, request: SampleRequest, samples: list[Sample]) -> None:
        """Remembers an answer, for `save`."""
        self._new[_key(policy, request)] = samples

    def save(self) -> None:
        """Writes all samples, those of earlier runs too."""
        lines = [
            json.dumps({"request": key, "samples": [dataclasses.asdict(s) for s in samples]})
            for key, samples in {**self._found, **self._new}.items()
        ]
        writing = self.path.with_suffix(".writing")
        writing.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        writing.replace(self.path)

    def remove(self) -> None:
        """The shard is finished: nothing of it is needed any more."""
        self.path.unlink(missing_ok=True)


def _key(policy: str, request: SampleRequest) -> str:
    return content_id("answer", policy, dataclasses.astuple(request))


def _read(path: Path) -> dict[str, list[Sample]]:
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return {row["request"]: [_sample(each) for each in row["samples"]] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged, so its samples are drawn again: %s", path, error)
        return {}


def _sample(row: dict[str, Any]) -> Sample:
    steps = tuple(Step(**step) for step in row["steps"])
    return Sample(**{**row, "steps": steps})
