"""Random numbers that belong to the request: a counter-based stream per sample.

The uniform of a sample at a position is a hash of (sample seed, position), so it does not depend
on the batch, the order or the number of workers. A token is drawn by inverting the cumulative
distribution at that uniform. In float64 the distributions of two differently shaped batches
differ by about 1e-15, so two runs draw different tokens about once in 1e12 tokens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seeds: npt.NDArray[np.uint64], position: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) per seed, for a token position (splitmix64 of the counter).

    Args:
        seeds: sample seeds, [samples].
        position: index of the token within its sample, from 0.
    """
    with np.errstate(over="ignore"):
        z = seeds + np.uint64(position + 1) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    logits: torch.Tensor, temperature: torch.Tensor, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws one token per row.

    Args:
        logits: [rows, vocabulary], any float type.
        temperature: [rows]; 0 takes the largest logit, the first one where several are equal.
        uniform: [rows], float64 in [0, 1).

    Returns:
        Tokens [rows] and their log-probabilities at temperature 1, float64, nats.
    """
    logits = logits.double()
    logprobs = torch.log_softmax(logits, dim=-1)
    greedy = temperature <= 0
    divisor = torch.where(greedy, 1.0, temperature).to(logits.dtype)
    cumulative = torch.softmax(logits / divisor[:, None], dim=-1).cumsum(dim=-1)
    threshold = uniform.to(logits.dtype)[:, None] * cumulative[:, -1:]
    sampled = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    sampled = sampled.clamp(max=logits.shape[-1] - 1)
    tokens = torch.where(greedy, logits.argmax(dim=-1), sampled)
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0]
