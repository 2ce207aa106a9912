"""Linear contextual bandits on the same embedding: epsilon-greedy, LinUCB, Thompson sampling.

Every value of every factor has a ridge regression of its own on the question's features,
A = I * ridge + sum x x^T, b = sum u x, theta = A^-1 b, and each factor chooses by itself:

    epsilon-greedy   argmax theta.x, with probability epsilon any value instead
    LinUCB           argmax theta.x + alpha * sqrt(x^T A^-1 x)     (Li et al. 2010, algorithm 1)
    Thompson         argmax theta~.x, theta~ ~ N(theta, alpha^2 A^-1)    (Agrawal and Goyal 2013)

1. A model of whole configurations would have thousands of arms; these have as many as there are
   values. What the other factors did is noise to them.
2. The features are the leading principal components of the embedding and a constant: A has their
   number squared for every value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from qstar_core.adaptive.actions import Actions, ActionSpace, Drawn
from qstar_core.adaptive.policy import draw_factors
from qstar_core.errors import UserError

Floats = npt.NDArray[np.floating[Any]]
Rule = Literal["epsilon_greedy", "linucb", "thompson"]
COMPONENTS = 16


@dataclass(frozen=True)
class Features:
    """A constant and the leading principal components of an embedding, standardised.

    Attributes:
        mean: [width], of the training questions.
        axes: [width, components], each divided by its component's deviation.
    """

    mean: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]

    def of(self, embeddings: Floats) -> npt.NDArray[np.float64]:
        """[n, 1 + components] of [n, width].

        Raises:
            UserError: the embeddings have another width.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise UserError(
                f"the features read embeddings of width {len(self.mean)}, these have the shape "
                f"{embeddings.shape}",
                next_step="embed the questions with the encoder of the training questions",
            )
        parts = (embeddings - self.mean) @ self.axes
        return np.concatenate([np.ones((len(parts), 1)), parts], axis=1)


def principal(embeddings: Floats, components: int = COMPONENTS) -> Features:
    """Features from the training questions, [n, width].

    Args:
        embeddings: of the training questions.
        components: at most; those without variance are left out.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    mean = x.mean(axis=0)
    _, values, axes = np.linalg.svd(x - mean, full_matrices=False)
    deviations = values / np.sqrt(len(x))
    kept = min(components, int((deviations > 1e-9 * max(1.0, float(deviations.max()))).sum()))
    return Features(mean, axes[:kept].T / deviations[:kept])


class LinearBandit:
    """One of the three, for a factorised space.

    Args:
        space: what is chosen.
        features: numbers in a question's features.
        rule: how it explores.
        explore: epsilon in [0, 1], or alpha > 0.
        ridge: > 0, penalty of the regressions.
    """

    def __init__(
        self, space: ActionSpace, features: int, rule: Rule, explore: float, ridge: float = 1.0
    ) -> None:
        self.space, self.rule, self.explore = space, rule, explore
        self._inverse = [np.tile(np.eye(features) / ridge, (width, 1, 1)) for width in space.widths]
        self._b = [np.zeros((width, features)) for width in space.widths]

    def best(self, x: Floats) -> Actions:
        """The value of each factor with the largest estimate, [n, factors]; no exploration."""
        return np.stack([each.argmax(axis=1) for each in self._means(x)], axis=1)

    def draw(self, x: Floats, seeds: npt.NDArray[np.uint64]) -> Drawn:
        """Chooses for each question.

        Args:
            x: features, [n, features].
            seeds: [n], one per episode; they alone decide.

        Returns:
            Actions with propensities: LinUCB is deterministic and has 1; those of Thompson sampling
            are not known.
        """
        if self.rule == "thompson":
            return Drawn(self._thompson(x, seeds), None)
        scores = self._means(x)
        if self.rule == "linucb":
            bonuses = [_quadratic(inverse, x) for inverse in self._inverse]
            pairs = zip(scores, bonuses, strict=True)
            scores = [mean + self.explore * np.sqrt(square) for mean, square in pairs]
        epsilon = self.explore if self.rule == "epsilon_greedy" else 0.0
        probabilities = []
        for score in scores:
            width = score.shape[1]
            greedy = np.eye(width)[score.argmax(axis=1)]
            probabilities.append((1 - epsilon) * greedy + epsilon / width)
        return draw_factors(probabilities, seeds)

    def learn(self, x: Floats, actions: Actions, utilities: Floats) -> None:
        """Takes the utilities of some actions, one after the other (Sherman and Morrison)."""
        self.space.check(actions)
        for row, action, utility in zip(x, actions, utilities, strict=True):
            for j, k in enumerate(action):
                inverse = self._inverse[j][k]
                v = inverse @ row
                inverse -= np.outer(v, v) / (1.0 + row @ v)
                self._b[j][k] += utility * row

    def _means(self, x: Floats) -> list[npt.NDArray[np.float64]]:
        return [x @ theta.T for theta in self.thetas()]

    def thetas(self) -> list[npt.NDArray[np.float64]]:
        """The estimates, one array [values, features] per factor."""
        pairs = zip(self._inverse, self._b, strict=True)
        return [np.einsum("kde,ke->kd", inverse, b) for inverse, b in pairs]

    def _thompson(self, x: Floats, seeds: npt.NDArray[np.uint64]) -> Actions:
        thetas = self.thetas()
        roots = [_root(inverse) for inverse in self._inverse]
        found = np.zeros((len(x), len(thetas)), dtype=np.int64)
        for row, seed in enumerate(seeds):
            rng = np.random.default_rng(int(seed))
            for j, (theta, root) in enumerate(zip(thetas, roots, strict=True)):
                z = rng.normal(size=theta.shape)
                sampled = theta + self.explore * np.einsum("kde,ke->kd", root, z)
                found[row, j] = int((sampled @ x[row]).argmax())
        return found


@dataclass(frozen=True)
class LinearChoice:
    """What a bandit has learnt, to choose by.

    Attributes:
        space: what is chosen.
        features: of the embeddings.
        thetas: one array [values, features] per factor.
    """

    space: ActionSpace
    features: Features
    thetas: list[npt.NDArray[np.float64]]

    def best(self, embeddings: Floats) -> Actions:
        """The value of each factor with the largest estimate, [n, factors]."""
        x = self.features.of(embeddings)
        return np.stack([(x @ theta.T).argmax(axis=1) for theta in self.thetas], axis=1)

    def save(self, folder: Path, name: str) -> None:
        """Writes estimates (safetensors) and space (JSON) into a folder."""
        arrays = {f"theta.{j}": np.ascontiguousarray(t) for j, t in enumerate(self.thetas)}
        arrays |= {"mean": self.features.mean, "axes": np.ascontiguousarray(self.features.axes)}
        save_file(arrays, folder / f"{name}.safetensors")
        text = json.dumps({"space": self.space.model_dump(mode="json")}, indent=2) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, name: str) -> LinearChoice:
        """Reads what `save` has written. Nothing in the files is run.

        Raises:
            UserError: a file is missing or damaged.
        """
        try:
            content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            space = ActionSpace.model_validate_json(json.dumps(content["space"]))
            arrays = load_file(folder / f"{name}.safetensors")
            features = Features(arrays["mean"], arrays["axes"])
            thetas = [arrays[f"theta.{j}"] for j in range(len(space.factors))]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(
                f"no bandit can be read from {folder}: {error}",
                next_step=f"name a folder with {name}.json and {name}.safetensors of one training",
            ) from error
        return cls(space, features, thetas)


def _quadratic(inverse: npt.NDArray[np.float64], x: Floats) -> npt.NDArray[np.float64]:
    """x^T A^-1 x for every question and value, [n, values]; not below 0."""
    squares = np.einsum("nd,kde,ne->nk", x, inverse, x, optimize=True)
    return np.asarray(np.maximum(squares, 0.0))


def _root(inverse: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """L with L L^T = A^-1, for every value; by eigenvalues, which rounding cannot make fail."""
    values, vectors = np.linalg.eigh((inverse + inverse.transpose(0, 2, 1)) / 2)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])
