"""The Q-value model (QVM): Q(s, a) in [0, 1], the learned heuristic of the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ValueModel(Protocol):
    """Scores actions."""

    fingerprint: str
    """Content hash of weights, tokenizer, calibration and numeric precision."""

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        """Q(s, a) for each text = state text + action text, rounded to 6 decimals.

        Args:
            texts: prompt and all steps, the scored action last.
            ended: whether the policy ended the text after that action.
        """
        ...
