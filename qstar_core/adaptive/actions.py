"""The factorised action space: which factors there are, which values each can take.

An action is one index per factor; a configuration is the same as a dict from factor to value.
AdaReasoner (arXiv 2505.17312, section 3) has three factors, see `paper_space`; a domain may bring
others of its own. A space is data: it can stand in YAML or JSON, and its id is a hash of all that
decides what an action means, the wording of the instructions included.

1. The paper's instruction is one factor of 100 values. Here it can also be two factors, base and
   variation, with 10 values each: 20 logits instead of 100, and an episode teaches about nine other
   instructions with the same base as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from qstar_core.adaptive.wording import BASES, TEMPLATE, TEMPLATE_IN_TWO, VARIATIONS
from qstar_core.config_adaptive import FIELD, PROMPT, AdaptiveConfig, Factor, Value
from qstar_core.config_section import Section
from qstar_core.errors import UserError
from qstar_core.keys import content_id

Action = tuple[int, ...]
Actions = npt.NDArray[np.int64]
"""[n, factors]: an action per row."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Actions with the probabilities that they were drawn with.

    Attributes:
        actions: [n, factors], int64.
        propensities: [n, factors], of each factor's value, in (0, 1]; None where they are unknown.
    """

    actions: Actions
    propensities: npt.NDArray[np.float64] | None


class ActionSpace(Section):
    """All configurations: one value of each factor.

    `template` is the prompt of a configured question; ``{prompt}`` stands for the question,
    ``{NAME}`` for the text of a factor's value. Everything else, braces in a question too, stays
    as it is.
    """

    factors: tuple[Factor, ...] = Field(min_length=1, strict=False)
    template: str = "{prompt}"

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = self.names
        if len(set(names)) < len(names) or PROMPT in names:
            raise ValueError(f"factors need different names, none of them {PROMPT}: {names}")
        for field in FIELD.findall(self.template):
            if field not in (PROMPT, *names):
                raise ValueError(f"template: no factor is called {field}, only {', '.join(names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the factors, in order."""
        return tuple(factor.name for factor in self.factors)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """How many values each factor has."""
        return tuple(len(factor.values) for factor in self.factors)

    @property
    def size(self) -> int:
        """How many configurations there are."""
        return math.prod(self.widths)

    @cached_property
    def id(self) -> str:
        """Hash of factors, values, texts and template, for keys: equal ids mean equal prompts."""
        # a value's type counts: 1 and 1.0 are equal in Python and differ in a prompt
        factors = [
            [f.name, [[type(v).__name__, v] for v in f.values], list(f.texts)] for f in self.factors
        ]
        return content_id("action_space", factors, self.template)

    def configuration(self, action: Sequence[int]) -> dict[str, Value]:
        """The value of each factor.

        Args:
            action: one index per factor, from 0.

        Raises:
            UserError: it has another number of indices, or one out of range.
        """
        self.check(np.asarray([action]))
        return {f.name: f.values[k] for f, k in zip(self.factors, action, strict=True)}

    def action(self, configuration: Mapping[str, Value]) -> Action:
        """The indices of a configuration; the inverse of `configuration`.

        Raises:
            UserError: a factor is unknown or missing, or a value is none of its factor's.
        """
        for name in configuration:
            self.place(name)
        if missing := [name for name in self.names if name not in configuration]:
            raise UserError(
                f"the configuration lacks a value of {', '.join(missing)}",
                next_step=f"give one value for each of {', '.join(self.names)}",
            )
        found = []
        for factor in self.factors:
            value = configuration[factor.name]
            if value not in factor.values:
                raise UserError(
                    f"factor {factor.name} has no value {value!r}",
                    next_step=f"take one of {_listed(factor.values)}",
                )
            found.append(factor.values.index(value))
        return tuple(found)

    def place(self, name: str) -> int:
        """The place of a factor among the factors, from 0.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self.names:
            raise UserError(
                f"unknown factor {name!r}", next_step=f"take one of {', '.join(self.names)}"
            )
        return self.names.index(name)

    def number(self, actions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Number of each action among all, [n]; the last factor counts fastest."""
        columns = tuple(self.check(np.asarray(actions)).T)
        return np.asarray(np.ravel_multi_index(columns, self.widths), dtype=np.int64)

    def numbered(self, numbers: npt.ArrayLike) -> Actions:
        """The actions with some numbers, [n, factors]; the inverse of `number`."""
        found = np.unravel_index(np.asarray(numbers, dtype=np.int64), self.widths)
        return np.stack(found, axis=-1).astype(np.int64)

    def all_actions(self) -> Iterator[Action]:
        """Every action, in the order of their numbers."""
        return product(*(range(width) for width in self.widths))

    def check(self, actions: npt.NDArray[np.int64]) -> Actions:
        """Makes sure that an array [n, factors] holds actions of this space.

        Raises:
            UserError: it does not.
        """
        ok = actions.ndim == 2 and actions.shape[1] == len(self.factors)
        if not ok or not ((actions >= 0) & (actions < np.array(self.widths))).all():
            raise UserError(
                f"actions of shape {actions.shape} do not fit the factors {', '.join(self.names)}"
                f" with {', '.join(map(str, self.widths))} values",
                next_step="use the action space that the actions were chosen in",
            )
        return actions

    def render(self, prompt: str, action: Sequence[int]) -> str:
        """The prompt of a configured question.

        Args:
            prompt: the question.
            action: one index per factor.
        """
        texts = {f.name: f.text(k) for f, k in zip(self.factors, action, strict=True)}
        return FIELD.sub(lambda m: {PROMPT: prompt, **texts}[m[1]], self.template)

    def pinned(self, configuration: Mapping[str, Value], free: Sequence[str]) -> ActionSpace:
        """The space in which only some factors are chosen and all others have one value.

        A per-factor ablation learns in it; templates and names stay, so prompts do too.

        Args:
            configuration: the values of the others, such as the best fixed ones.
            free: names of the factors that keep all their values.

        Raises:
            UserError: a factor or a value is unknown.
        """
        kept = {self.place(name) for name in free}
        action = self.action(configuration)
        factors = [
            factor if place in kept else _only(factor, action[place])
            for place, factor in enumerate(self.factors)
        ]
        return ActionSpace(factors=tuple(factors), template=self.template)


def space_of(config: AdaptiveConfig) -> ActionSpace:
    """The space of a run: its own factors, or the paper's."""
    if not config.factors:
        return paper_space(config.instruction_in_two)
    return ActionSpace(factors=config.factors, template=config.template)


def paper_space(instruction_in_two: bool = False) -> ActionSpace:
    """AdaReasoner's space: 11 temperatures x 8 numbers of steps x 100 instructions.

    Args:
        instruction_in_two: base and variation are factors of their own, 10 values each.
    """
    temperature = Factor(name="temperature", values=tuple(k / 10 for k in range(11)))
    steps = Factor(name="steps", values=tuple(range(3, 11)))
    if instruction_in_two:
        base = Factor(name="base", values=tuple(BASES), texts=tuple(BASES.values()))
        kinds, said = tuple(VARIATIONS), tuple(VARIATIONS.values())
        variation = Factor(name="variation", values=kinds, texts=said)
        return ActionSpace(factors=(temperature, steps, base, variation), template=TEMPLATE_IN_TWO)
    pairs = list(product(BASES, VARIATIONS))
    instruction = Factor(
        name="instruction",
        values=tuple(f"{base}/{variation}" for base, variation in pairs),
        texts=tuple(f"{BASES[base]} {VARIATIONS[variation]}" for base, variation in pairs),
    )
    return ActionSpace(factors=(temperature, steps, instruction), template=TEMPLATE)


def _only(factor: Factor, index: int) -> Factor:
    texts = (factor.texts[index],) if factor.texts else ()
    return Factor(name=factor.name, values=(factor.values[index],), texts=texts)


def _listed(values: Sequence[Value], most: int = 12) -> str:
    shown = ", ".join(repr(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
