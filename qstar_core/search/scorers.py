"""The models that score for the searches: the Q-value model and the process reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qstar_core.config import SearchConfig
from qstar_core.errors import UserError
from qstar_core.search.requests import Scorer
from qstar_core.values import ValueModel

Texts = list[tuple[str, bool]]
"""State and action as one text, and whether the policy ended it there."""
Group = tuple[Scorer, Texts]
"""What scores, and what it scores."""
NAMES: dict[Scorer, str] = {"q": "Q", "prm": "R_P of the process reward model"}
NO_REWARD = ("self_consistency", "best_first")  # algorithms that take no process reward


@dataclass(frozen=True, slots=True)
class Scorers:
    """What scores; None where there is no such model.

    Attributes:
        value: Q(state, action).
        prm: R_P of a step.
    """

    value: ValueModel | None
    prm: ValueModel | None = None

    def values(self, groups: Sequence[Group]) -> list[list[float]]:
        """Values of several groups of texts, with one call to each model."""
        scores = {
            name: iter(self._scored(name, [t for of, group in groups if of == name for t in group]))
            for name in NAMES
        }
        return [[next(scores[name]) for _ in group] for name, group in groups]

    def _scored(self, name: Scorer, texts: Texts) -> list[float]:
        if not texts:
            return []
        model = self.value if name == "q" else self.prm
        if model is None:
            raise ValueError(f"the search asks for {NAMES[name]} and there is no such model")
        return model.score([text for text, _ in texts], [ended for _, ended in texts])

    def require(self, config: SearchConfig) -> None:
        """Makes sure that a method has the models it asks.

        Raises:
            UserError: it ranks by Q and there is no Q-value model, or it is rewarded by a model
                and there is none.
        """
        votes = config.algorithm == "self_consistency"
        ranks = config.vote == "q" if votes else config.lam > 0 and config.algorithm != "greedy"
        if self.value is None and ranks:
            raise UserError(
                f"method {config.name!r} ranks by Q (lam: {config.lam}) and there is no QVM",
                next_step="train one with qstar train-qvm CONFIG, or set qvm.path, or lam: 0",
            )
        if self.prm is None and config.reward == "prm" and config.algorithm not in NO_REWARD:
            raise UserError(
                f"method {config.name!r} has reward: prm and there is no process reward model",
                next_step="set prm.path, or another reward: rules, logprob, none",
            )


def fault(model: Scorer, values: Sequence[float]) -> ValueError | None:
    """What is wrong with an answer, if anything: values lie in [0, 1]."""
    if all(0.0 <= value <= 1.0 for value in values):
        return None
    return ValueError(f"{NAMES[model]} must be in [0, 1], got {values}")
