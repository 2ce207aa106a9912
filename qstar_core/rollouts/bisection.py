"""The pool of OmegaPRM (Luo et al., arXiv 2406.06592, section 3.2): where a trajectory goes wrong.

A wrong rollout has a first wrong step: one after which no continuation is right any more. It is
found by bisection over the steps: the state in the middle is continued; if a continuation is right,
the error lies behind it, else before or at it. Only the states that a bisection comes to are
sampled, about log2 T for a rollout of T steps.

1. A state that any known path of the problem passes through to the right answer is good without a
   sample; the paper samples it anew for each trajectory. Rollouts that share a state share its
   continuations.
2. All bisections of a problem are done again after each round, with all that is known by then,
   until none comes to a state that is neither known to be good nor sampled. So a label that bisects
   over the finished pool finds every state that it comes to.
3. The paper picks what to search next by a tree search over all partial solutions; here every wrong
   rollout is bisected once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qstar_core.config import PoolConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.rollouts.continuations import Ask, Asking
from qstar_core.rollouts.paths import Path, is_correct, steps_of


def bisection(problem: Problem, rollouts: Sequence[Path], pool: PoolConfig) -> Asking:
    """Asks for the continuations that locate the first wrong step of each wrong rollout.

    Args:
        problem: the question.
        rollouts: all of its rollouts.
        pool: of kind binary_search; ``samples`` continuations of each state.
    """
    is_terminal = DOMAINS[problem.domain].is_terminal
    wrong = [path for path in rollouts if not is_correct(path)]
    good = set(_solvable(rollouts))
    sampled: set[str] = set()
    while True:
        asked: dict[str, Ask] = {}
        for path in wrong:
            while depth := undecided(path, good, sampled):
                state_id, steps = path["steps"][depth]["state_id"], steps_of(path, depth)
                if not is_terminal(problem, steps):
                    asked[state_id] = Ask(state_id, steps, 0, pool.samples)
                    break
                sampled.add(state_id)  # nothing follows it
        if not asked:
            return
        answers = yield list(asked.values())
        sampled.update(asked)
        good.update(_solvable(path for paths in answers for path in paths))


def undecided(path: Path, good: set[str], sampled: set[str]) -> int:
    """Bisects a wrong path by what is known.

    Args:
        path: wrong at its end.
        good: ids of states that a right path passes through.
        sampled: ids of states that are bad unless they are good.

    Returns:
        How many steps lead to the state that has to be sampled next; 0 where all are known.
    """
    low, high = 0, int(path["n_steps"])
    while high - low > 1:
        middle = (low + high) // 2
        state_id = path["steps"][middle]["state_id"]
        if state_id in good:
            low = middle
        elif state_id in sampled:
            high = middle
        else:
            return middle
    return 0


def _solvable(paths: Iterable[Path]) -> list[str]:
    """The ids of the states that right paths pass through."""
    return [step["state_id"] for path in paths if is_correct(path) for step in path["steps"]]
