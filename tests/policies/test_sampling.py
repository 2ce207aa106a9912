from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.policies.sampling import draw, uniforms


def test_uniforms_are_uniform_and_independent_of_their_company() -> None:
    seeds = np.arange(20_000, dtype=np.uint64)
    values = uniforms(seeds, 3)
    assert ((values >= 0) & (values < 1)).all()
    assert abs(values.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(values, uniforms(seeds, 4))[0, 1]) < 0.03
    assert uniforms(seeds[17:18], 3)[0] == values[17]


@given(st.integers(0, 2**63 - 1), st.integers(0, 10_000))
def test_a_uniform_depends_on_seed_and_position_only(seed: int, position: int) -> None:
    alone = uniforms(np.array([seed], dtype=np.uint64), position)
    among = uniforms(np.array([1, seed, 2], dtype=np.uint64), position)
    assert alone[0] == among[1]


def test_frequencies_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.0, 0.3], dtype=torch.float64)
    n = 50_000
    uniform = torch.from_numpy(uniforms(np.arange(n, dtype=np.uint64), 0))
    tokens, logprobs = draw(probabilities.log().expand(n, 4), torch.ones(n), uniform)
    counts = torch.bincount(tokens, minlength=4).double() / n
    assert torch.allclose(counts, probabilities, atol=0.01)
    assert counts[2] == 0
    assert torch.allclose(logprobs.exp(), probabilities[tokens])


def test_temperature_zero_takes_the_first_largest() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 0.0]])
    tokens, _ = draw(logits, torch.zeros(2), torch.tensor([0.99, 0.99], dtype=torch.float64))
    assert tokens.tolist() == [1, 0]


def test_logprobs_are_those_of_temperature_one() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    for temperature in (0.0, 0.5, 3.0):
        token, logprob = draw(
            logits, torch.tensor([temperature]), torch.tensor([0.4], dtype=torch.float64)
        )
        assert torch.isclose(logprob, torch.log_softmax(logits.double(), -1)[0, token])
