"""Every label method again, by plain loops over paths: slow, and close to the definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tests.labels.paths import Path, roots

Label = tuple[float, int, int]
"""y, samples, successes."""


def through(paths: Sequence[Path], path: Path, t: int, *sources: str) -> list[Path]:
    """The paths of some sources that take the first t steps of a path."""
    return [
        other
        for other in paths
        if other.source in sources
        and other.problem == path.problem
        and len(other.actions) >= t
        and other.actions[:t] == path.actions[:t]
    ]


def discounted(path: Path, t: int, gamma: float) -> float:
    return float(gamma ** (len(path.actions) - t)) if path.correct else 0.0


def each(
    paths: Sequence[Path],
    gamma: float,
    pool: Callable[[Path, int], list[Path]],
    reduce: Callable[[list[float]], float],
) -> list[Label]:
    """The labels of all steps of all rollouts from the returns of a pool."""
    labels = []
    for path in roots(paths):
        for t in range(1, len(path.actions) + 1):
            found = pool(path, t)
            y = reduce([discounted(other, t, gamma) for other in found])
            labels.append((y, len(found), sum(other.correct for other in found)))
    return labels


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def best_of_rollouts(paths: Sequence[Path], gamma: float) -> list[Label]:
    sources = ("rollouts", "states", "binary_search")
    return each(paths, gamma, lambda path, t: through(paths, path, t, *sources), max)


def mcts_pool(paths: Sequence[Path], gamma: float) -> list[Label]:
    return each(paths, gamma, lambda path, t: through(paths, path, t, "rollouts", "mcts"), max)


def on_policy(paths: Sequence[Path], path: Path, t: int) -> list[Path]:
    found = through(paths, path, t, "rollouts", "states")
    return [other for other in found if other.given <= t]


def mean_of_rollouts(paths: Sequence[Path], gamma: float) -> list[Label]:
    return each(paths, gamma, lambda path, t: on_policy(paths, path, t), mean)


def soft(paths: Sequence[Path], gamma: float, eta: float) -> list[Label]:
    def maximum(values: list[float]) -> float:
        return eta * math.log(mean([math.exp(value / eta) for value in values]))

    return each(paths, gamma, lambda path, t: on_policy(paths, path, t), maximum)


def stronger_policy(paths: Sequence[Path], gamma: float, reduce: str) -> list[Label]:
    def completions(path: Path, t: int) -> list[Path]:
        return [p for p in through(paths, path, t, "stronger") if p.given == t]

    labels = []
    for path in roots(paths):
        for t in range(1, len(path.actions) + 1):
            found, reduced = completions(path, t), {"max": max, "mean": mean}[reduce]
            if not found:
                found, reduced = through(paths, path, t, "rollouts"), max
            y = reduced([discounted(other, t, gamma) for other in found])
            labels.append((y, len(found), sum(other.correct for other in found)))
    return labels


def first_wrong(path: Path, reaches: Callable[[int], bool]) -> tuple[int, int]:
    """The first wrong step by bisection (T + 1 if there is none), and how often it asked."""
    right, wrong, asked = 0, len(path.actions) + 1, 0
    while wrong - right > 1:
        middle = (right + wrong) // 2
        asked += 1
        if reaches(middle):
            right = middle
        else:
            wrong = middle
    return wrong, asked


def binary_search(paths: Sequence[Path], gamma: float) -> list[Label]:
    labels = []
    for path in roots(paths):

        def pool(t: int, path: Path = path) -> list[Path]:
            return through(paths, path, t, "rollouts", "binary_search")

        wrong, asked = first_wrong(path, lambda t: any(p.correct for p in pool(t)))
        assert asked <= math.ceil(math.log2(len(path.actions) + 1))
        for t in range(1, len(path.actions) + 1):
            found = pool(t)
            best = max(discounted(other, t, gamma) for other in found)
            y = best if t < wrong else 0.0
            labels.append((y, len(found), sum(other.correct for other in found)))
    return labels


def fitted_q(
    paths: Sequence[Path], gamma: float, values: dict[str, float], candidates: int | None
) -> list[Label]:
    sources = ("rollouts", "states", "binary_search")
    labels = []
    for path in roots(paths):
        for t in range(1, len(path.actions) + 1):
            found = through(paths, path, t, *sources)
            ended = [float(p.correct) for p in found if len(p.actions) == t]
            following: dict[str, None] = {}  # distinct, in order
            for other in found:
                if len(other.actions) > t:
                    following[other.action_id(t + 1)] = None
            asked = list(following)[:candidates]
            y = max([*ended, *(gamma * values.get(action, 0.0) for action in asked)])
            labels.append((y, len(found), sum(other.correct for other in found)))
    return labels
