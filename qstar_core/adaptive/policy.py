"""The policy network: a frozen embedding of the question, a shared layer, one head per factor.

AdaReasoner (arXiv 2505.17312, section 3): h = MLP(embedding),
pi_j(a | q) = softmax(head_j(h) / tau), independent over the factors j given the question, so the
propensity of an action is the product of those of its factors. Exploration is Boltzmann with
tau_k = tau_0 * alpha^k after k episodes; at inference each factor takes its most probable value.

1. tau has a floor: the gradient of log pi grows as 1 / tau, and a policy that is annealed to
   tau = 0 cannot be evaluated off-policy any more.
2. The heads start at zero, so that the first policy is uniform whatever the embedding.
3. The embedding is standardised, with mean and scale per dimension from the training questions:
   hidden states of causal LMs have a large part in common. Both are saved with the weights.
4. All is in float64: the network is small, and an action hardly ever depends on the batch it was
   drawn in then.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qstar_core.adaptive.actions import Actions, ActionSpace, Drawn
from qstar_core.errors import UserError
from qstar_core.keys import ID_DIGITS, content_id
from qstar_core.policies.sampling import uniforms
from qstar_core.store.local import sync

NAME = "policy"
WEIGHTS = f"{NAME}.safetensors"

Floats = npt.NDArray[np.floating[Any]]
Probabilities = list[npt.NDArray[np.float64]]
"""One array [n, values of the factor] per factor; each row adds up to 1."""


class ConfigPolicy(torch.nn.Module):
    """Chooses a configuration for each question.

    Args:
        space: what is chosen.
        width: numbers in an embedding.
        hidden: units of each shared layer (tanh); none makes a linear policy.
        seed: of the first weights.
    """

    def __init__(
        self, space: ActionSpace, width: int, hidden: tuple[int, ...] = (64,), seed: int = 0
    ) -> None:
        super().__init__()
        self.space, self.width, self.hidden = space, width, tuple(hidden)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[torch.nn.Module] = []
            for before, after in zip((width, *hidden), hidden, strict=False):
                layers += [torch.nn.Linear(before, after, dtype=torch.float64), torch.nn.Tanh()]
            self.shared = torch.nn.Sequential(*layers)
            last = (width, *hidden)[-1]
            self.heads = torch.nn.ModuleList(
                torch.nn.Linear(last, values, dtype=torch.float64) for values in space.widths
            )
        for parameter in self.heads.parameters():
            torch.nn.init.zeros_(parameter)
        self.register_buffer("shift", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(width, dtype=torch.float64))

    def standardise(self, embeddings: Floats) -> None:
        """Takes mean and scale of the input from the training questions, [n, width].

        Raises:
            UserError: an embedding has another width or is not finite.
        """
        x = self._checked(embeddings)
        self.shift.copy_(x.mean(dim=0))  # type: ignore[operator]
        deviation = x.std(dim=0, correction=0)
        one = torch.ones_like(deviation)
        self.scale.copy_(torch.where(deviation > 0, deviation, one))  # type: ignore[operator]

    def log_probs(self, embeddings: Floats, tau: float = 1.0) -> list[torch.Tensor]:
        """log pi_j(a | q) for every value of every factor, with gradients.

        Args:
            embeddings: [n, width].
            tau: > 0.

        Returns:
            One tensor [n, values of the factor] per factor, nats.

        Raises:
            UserError: an embedding has another width or is not finite.
        """
        x = (self._checked(embeddings) - self.shift) / self.scale  # type: ignore[operator]
        shared = self.shared(x)
        return [torch.log_softmax(head(shared) / tau, dim=-1) for head in self.heads]

    @torch.no_grad()
    def probabilities(self, embeddings: Floats, tau: float = 1.0) -> Probabilities:
        """pi_j(a | q) for every value of every factor; the policy as an array."""
        return [each.exp().numpy() for each in self.log_probs(embeddings, tau)]

    def draw(self, embeddings: Floats, seeds: npt.NDArray[np.uint64], tau: float = 1.0) -> Drawn:
        """Draws an action for each question.

        Args:
            embeddings: [n, width].
            seeds: [n], one per episode; see `qstar_core.keys.sample_seed`. They alone decide, so
                the order and the size of the batch do not matter.
            tau: temperature of exploration.
        """
        return draw_factors(self.probabilities(embeddings, tau), seeds)

    def best(self, embeddings: Floats) -> Actions:
        """The most probable value of each factor, the first where several are; [n, factors]."""
        found = [p.argmax(axis=1) for p in self.probabilities(embeddings)]
        return np.stack(found, axis=1).astype(np.int64)

    def propensities(
        self, embeddings: Floats, actions: Actions, tau: float = 1.0
    ) -> npt.NDArray[np.float64]:
        """pi(a | q) of whole actions, the product over the factors, [n]."""
        taken = taken_of(self.probabilities(embeddings, tau), self.space.check(actions))
        return np.asarray(taken.prod(axis=1))

    @property
    def fingerprint(self) -> str:
        """Hash of the space and of the weights, bit for bit."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return content_id("config_policy", self.space.id, digest.hexdigest()[:ID_DIGITS])

    def save(self, folder: Path, name: str = NAME) -> None:
        """Writes weights (safetensors) and space (JSON) into a folder.

        Args:
            folder: may hold several policies.
            name: of both files, without their endings.
        """
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.contiguous() for k, v in self.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
        content = {
            "space": self.space.model_dump(mode="json"),
            "space_id": self.space.id,
            "width": self.width,
            "hidden": list(self.hidden),
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        for ending in ("safetensors", "json"):
            sync(folder / f"{name}.{ending}")

    @classmethod
    def load(cls, folder: Path, name: str = NAME) -> ConfigPolicy:
        """Reads what `save` has written. Nothing in the files is run.

        Args:
            folder: with both files.
            name: of both files.

        Raises:
            UserError: a file is missing or damaged, or the two do not fit each other.
        """
        try:
            content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            space = ActionSpace.model_validate_json(json.dumps(content["space"]))
            if space.id != content["space_id"]:
                raise ValueError("the action space is not the one that was saved")
            policy = cls(space, int(content["width"]), tuple(map(int, content["hidden"])))
            policy.load_state_dict(load_file(folder / f"{name}.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            told = "its action space is malformed" if isinstance(error, ValidationError) else first
            raise UserError(
                f"no configuration policy can be read from {folder}: {told}",
                next_step=f"name a folder with {name}.json and {name}.safetensors of one training",
            ) from error
        return policy

    def _checked(self, embeddings: Floats) -> torch.Tensor:
        x = torch.as_tensor(np.asarray(embeddings, dtype=np.float64))
        if x.ndim != 2 or x.shape[1] != self.width:
            raise UserError(
                f"the configuration policy reads embeddings of width {self.width}, these have the "
                f"shape {tuple(x.shape)}",
                next_step="embed the questions with the encoder that the policy was trained with",
            )
        if not bool(torch.isfinite(x).all()):
            row = int((~torch.isfinite(x)).any(dim=1).nonzero()[0])
            raise UserError(
                f"the embedding of question {row} (counted from 0) has NaN or infinity in it",
                next_step="embed it in float32 or float64",
            )
        return x


def draw_factors(probabilities: Probabilities, seeds: npt.NDArray[np.uint64]) -> Drawn:
    """Draws a value of each factor; the uniform of factor j is the seed's number j.

    Args:
        probabilities: of each factor, [n, its values].
        seeds: [n].
    """
    columns = []
    for place, p in enumerate(probabilities):
        cumulative = p.cumsum(axis=1)
        threshold = uniforms(seeds, place)[:, None] * cumulative[:, -1:]
        below = (cumulative <= threshold).sum(axis=1)
        last = p.shape[1] - 1 - (p[:, ::-1] > 0).argmax(axis=1)
        columns.append(np.minimum(below, last))
    actions = np.stack(columns, axis=1).astype(np.int64)
    return Drawn(actions, taken_of(probabilities, actions))


def taken_of(probabilities: Probabilities, actions: Actions) -> npt.NDArray[np.float64]:
    """The probability of each factor's value in some actions, [n, factors]."""
    rows = np.arange(len(actions))
    found = [p[rows, actions[:, place]] for place, p in enumerate(probabilities)]
    return np.stack(found, axis=1)
