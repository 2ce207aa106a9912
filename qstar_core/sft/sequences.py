"""Solutions as token sequences: the prompt as the policy is asked it, the solution as it answers.

1. The tokens of the prompt are those of `qstar_core.policies.text.Vocabulary`, with the chat
   template around them if the policy is a chat model, so training and sampling see one context.
2. The end-of-text token belongs to the solution: a policy has to learn where to stop. One that
   was cut off or ended by the limit of steps has none.
3. A sequence that is too long is left out, not cut: a solution without its end teaches wrong ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from qstar_core.errors import UserError
from qstar_core.policies import SampleRequest
from qstar_core.policies.text import Vocabulary


@dataclass
class Sequences:
    """Tokenised solutions.

    Attributes:
        ids: token ids of prompt and solution.
        masks: 1 at the tokens of the solution, 0 at those of the prompt.
        rows: the rows of the selection that they were made from.
        too_long: how many were left out.
    """

    ids: list[list[int]] = field(default_factory=list)
    masks: list[list[int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    too_long: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss counts."""
        return sum(map(sum, self.masks))

    @property
    def padding(self) -> float:
        """Share of a whole padded table that would be padding, in [0, 1)."""
        lengths = [len(ids) for ids in self.ids]
        return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0


def encode(
    chosen: pl.DataFrame, prompts: Mapping[str, str], vocabulary: Vocabulary, max_length: int
) -> Sequences:
    """Tokenises the solutions of a selection.

    Args:
        chosen: columns problem_id, text and ended.
        prompts: prompt text by problem id.
        vocabulary: of the policy.
        max_length: tokens of prompt and solution together, at most.
    """
    found = Sequences()
    columns = chosen.select("problem_id", "text", "ended").iter_rows()
    for row, (problem_id, text, ended) in enumerate(columns):
        prompt, solution = tokens(vocabulary, prompts[problem_id], text, ended)
        if len(prompt) + len(solution) > max_length:
            found.too_long += 1
            continue
        found.ids.append(prompt + solution)
        found.masks.append([0] * len(prompt) + [1] * len(solution))
        found.rows.append(row)
    return found


def tokens(
    vocabulary: Vocabulary, prompt: str, text: str, ended: bool
) -> tuple[list[int], list[int]]:
    """The tokens of a prompt and of a solution that continues it.

    Args:
        vocabulary: of the policy.
        prompt: of the problem.
        text: of the solution, its steps joined.
        ended: whether an end-of-text token follows.
    """
    asked, whole = (
        vocabulary.asked(SampleRequest(prompt, (), 1, 1, 0.0, written=written))
        for written in ("", text)
    )
    tokenizer, special = vocabulary.tokenizer, not vocabulary.chat
    before = list(tokenizer(asked, add_special_tokens=special)["input_ids"])
    both = list(tokenizer(whole, add_special_tokens=special)["input_ids"])
    if both[: len(before)] == before:
        solution = both[len(before) :]
    else:  # a token would span the two: the policy never sees it, the prompt comes first
        solution = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return before, solution + ([end_token(vocabulary)] if ended else [])


def end_token(vocabulary: Vocabulary) -> int:
    """The token that ends a solution: the tokenizer's own where sampling stops at it."""
    own = vocabulary.tokenizer.eos_token_id
    return int(own) if own in vocabulary.eos else min(vocabulary.eos)


def check_fits(sequences: Sequences, rows: int, max_length: int) -> None:
    """Refuses sequences that the model cannot take.

    Args:
        sequences: to train on.
        rows: of the model's embedding.
        max_length: ``sft.max_length``.

    Raises:
        UserError: none is left, or a token is not in the embedding.
    """
    if not sequences.ids:
        raise UserError(
            f"sft: none of {sequences.too_long:,} solutions fits into {max_length:,} tokens",
            safe="problems and rollouts are kept, and nothing was trained",
            next_step=f"--set sft.max_length={2 * max_length} leaves fewer of them out",
        )
    largest = max(map(max, sequences.ids))
    if largest >= rows:
        raise UserError(
            f"sft.base: its tokenizer has the token {largest}, its model's embedding only {rows} "
            "rows: they do not belong together",
            safe="problems and rollouts are kept, and nothing was trained",
            next_step="name a checkpoint folder whose tokenizer is that of its model",
        )
