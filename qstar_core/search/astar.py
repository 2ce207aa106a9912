"""Q*: A* search over reasoning steps (arXiv 2406.14283, algorithm 1), largest f first.

``edge`` mode takes h(s_t) = Q(s_(t-1), a_(t-1)), one Q per sampled action. ``lookahead`` mode
takes h(s_t) = max over a in K samples of the policy in s_t of Q(s_t, a), as the paper writes it;
the K sampled children are kept and reused when s_t is expanded. With the exact Q and gamma = 1
both give the same h.

Departures from the paper and decisions it leaves open:

1. h of a terminal state is the Q of its last action in both modes; there is no action after it.
2. The top-K actions of a state are K samples, equal ones merged; top-K of all texts cannot be
   computed.
3. The search does not end at the first popped terminal but at the N-th; the one with the largest
   f is returned.
4. Among equal f the deeper state is popped first (it needs fewer tokens to finish), then the one
   inserted first.
5. When the budget ends nothing can be sampled any more, but pops cost nothing: the frontier is
   popped on, without expanding what would need samples, so every terminal that was generated
   still counts. Without any, the result has no best trajectory.
6. A state in which not one whole action could be sampled is a dead end and leaves the frontier
   (lookahead: never enters it).
7. With ``merge: state`` a child whose canonical state (of the domain) is followed already, with at
   least its g, is kept in the tree and not followed, unless that other node turns out a dead end
   (`qstar_core.search.merging`). Terminal states are never merged.
8. With lambda = 0 no Q is needed and none is asked for: h is unknown and f = g.
9. With ``reward: prm`` R_P is a model's, asked for each sampled action after its Q. Both count as
   value calls; an action that they do not suffice for is dropped.
10. With ``reopen: true`` (ours, not in the paper) an expanded state goes back to the frontier with
   another f, for the children that its K samples did not show; popped again, it draws K more, and
   the actions that are new become children. `qstar_core.search.reopening` has the formula. The
   order of a node is that of its first pop, its f the one it had there. In lookahead mode the first
   K samples serve h as always, later ones are drawn when the state is popped again. With ``merge:
   state`` every node counts its own samples, and one that is not followed never returns. With
   lambda = 0 none does. Such a search is exhausted once every action came twice; before that, N
   finished trajectories or the budget end it.
11. The stamp of a node is what was spent when its action was sampled, in lookahead mode for h. When
   such a search ends, the terminal actions of states that it never popped are added to the tree
   with their f: they were generated, though they are not finished. With an aggregation other than
   min such an f may be larger than the one that is returned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem, State, Step
from qstar_core.search.budget import Ledger
from qstar_core.search.merging import Merging
from qstar_core.search.reopening import Counts, f_again
from qstar_core.search.requests import Asking, Scorer, distinct, propose, score
from qstar_core.search.trace import Node, Search, Tree


class Action(NamedTuple):
    """A sampled step.

    Attributes:
        step: the step.
        spent: policy tokens that were spent when it was there.
        q: its Q; None when lambda is 0.
        reward: its R_P if a model says it (``reward: prm``), else None.
    """

    step: Step
    spent: int
    q: float | None = None
    reward: float | None = None


def astar(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Searches one problem; the ledger tells what is left of the budget."""
    tree = Tree(problem, config)
    lookahead = config.heuristic == "lookahead" and config.lam > 0
    kept: dict[int, list[Action]] = {}  # node id -> its actions, sampled for h
    counts: defaultdict[int, Counts] = defaultdict(Counts)  # node id -> its samples
    frontier = [entry(tree.root, 0.0)]
    finished: list[Node] = []
    merging = Merging(config.merge)
    pops = 0
    while frontier and len(finished) < config.n:
        node = heappop(frontier)[-1]
        if ledger.over and not node.terminal and node.id not in kept:
            continue
        node.order, pops = (pops if node.order < 0 else node.order), pops + 1
        if node.terminal:
            finished.append(node)
            continue
        actions = kept.pop(node.id, None)
        if actions is None:
            [actions] = yield from sample_actions([node.state], config, [counts[node.id]])
        children = add_all(tree, node, actions)
        if (again := f_again(node, counts[node.id], tree)) is not None:
            heappush(frontier, entry(node, again))
        if counts[node.id]:
            children = [child for child in children if merging.follows(child)]
        else:
            children = merging.instead(node)  # those that were left out for this dead end
        inner = [child for child in children if lookahead and not child.terminal]
        while inner:
            states, drawn = [c.state for c in inner], [counts[c.id] for c in inner]
            sampled = yield from sample_actions(states, config, drawn)
            kept.update((c.id, found) for c, found in zip(inner, sampled, strict=True) if found)
            dead = [] if ledger.over else [c for c in inner if c.id not in kept]
            inner = [other for child in dead for other in merging.instead(child)]
            children += inner
        for child in children:
            if child.terminal or not lookahead:
                h = child.q
            elif child.id in kept:
                h = max(action.q for action in kept[child.id] if action.q is not None)
            else:
                continue
            tree.rank(child, h)
            heappush(frontier, entry(child, child.f or 0.0))
    add_ends(tree, kept)
    return tree.result(finished, ledger, done=len(finished) >= config.n)


def add_all(tree: Tree, node: Node, actions: Sequence[Action]) -> list[Node]:
    """The children of a node by some actions, each with the stamp of its action."""
    children = []
    for action in actions:
        tree.clock = action.spent
        children.append(tree.add(node, action.step, action.q, action.reward))
    return children


def add_ends(tree: Tree, kept: Mapping[int, Sequence[Action]]) -> None:
    """Adds the terminal ones of the actions that were sampled for h, of states never popped."""
    for place, actions in kept.items():
        node = tree.nodes[place]
        for child in add_all(tree, node, [a for a in actions if tree.ends(node, a.step)]):
            tree.rank(child, child.q)


def entry(node: Node, f: float) -> tuple[float, int, int, Node]:
    """A place in the frontier, which is sorted by -f, -depth, insertion."""
    return -f, -len(node.state.steps), node.id, node


def sample_actions(
    states: Sequence[State], config: SearchConfig, counts: Sequence[Counts] | None = None
) -> Asking[list[list[Action]]]:
    """The distinct ones of K sampled actions of each state, with the values they are ranked by.

    Args:
        states: none of them terminal.
        config: of the method.
        counts: for each state how often its actions were sampled before, added to here; those
            that were are not returned again. None: each state is taken as new.

    Returns:
        The actions of each state in the order of their samples. Those that the value calls did not
        suffice for are left out, and fewer come when the budget ends.
    """
    proposals = yield from propose(states, config.k)
    counts = [Counts() for _ in states] if counts is None else counts
    found = []
    for proposed, before in zip(proposals, counts, strict=True):
        first = [Action(one.step, one.spent) for one in distinct(proposed)]
        found.append([a for a in first if (a.step.text, a.step.ended) not in before])
        before.update((one.step.text, one.step.ended) for one in proposed)
    return (yield from valued(states, found, config))


def valued(
    states: Sequence[State], choices: Sequence[Sequence[Action]], config: SearchConfig
) -> Asking[list[list[Action]]]:
    """The actions of each state with the values they are ranked by.

    Those that the value calls did not suffice for are left out.
    """
    found = [list(actions) for actions in choices]
    if config.lam > 0:
        found = yield from _scored(states, found, "q")
    if config.reward == "prm":
        found = yield from _scored(states, found, "prm")
    return found


def _scored(
    states: Sequence[State], choices: Sequence[Sequence[Action]], model: Scorer
) -> Asking[list[list[Action]]]:
    """The actions of each state with the value that a model gives them."""
    asked = [(s, [a.step for a in actions]) for s, actions in zip(states, choices, strict=True)]
    answers = yield from score(asked, model)
    return [
        [
            action._replace(q=value) if model == "q" else action._replace(reward=value)
            for action, value in zip(actions, values, strict=False)
        ]
        for actions, values in zip(choices, answers, strict=True)
    ]
