"""The tree that a search builds, kept for the report, and the result of a search.

``Tree`` is also the one place where f is computed, so every method ranks what it finished by the
same rule (arXiv 2406.14283, eq. 6 and 7)::

    f(s_t) = g(s_t) + lambda * h(s_t),   g(s_t) = Agg(R_P(s_1) .. R_P(s_t))

R_P is counted per step taken: the root, the question alone, has no R_P and g = 0, and where the
paper writes R_P(s_i) the reward here is that of the i-th step. With ``reward: none`` g is 0
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem, State, Step, Trajectory
from qstar_core.rewards import AGGREGATIONS, process_rewards
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking, Drawn

StopReason = Literal["finished", "budget", "exhausted", "error"]


@dataclass(slots=True)
class Node:
    """A state in the tree; what was not computed is None.

    Attributes:
        id: its place in the list of nodes, the order of insertion; 0 is the root.
        parent: id of its parent, -1 for the root.
        state: the question and the steps.
        text: text of the last step; the prompt for the root.
        q: Q of the last step, in [0, 1].
        reward: R_P of the last step; None where a model says it and was not asked.
        g: aggregated process reward of the path.
        h: heuristic value.
        f: g + lambda * h, larger is better.
        order: how many pops came before its own (A*) or distinct trajectories before it
            (best-of-N, terminal nodes only); -1 when it was never popped.
        tokens: policy tokens that were spent when the node was there.
        terminal: whether the episode is over.
        chosen: whether it lies on the returned path.
    """

    id: int
    parent: int
    state: State
    text: str
    q: float | None = None
    reward: float | None = None
    g: float = 0.0
    h: float | None = None
    f: float | None = None
    order: int = -1
    tokens: int = 0
    terminal: bool = False
    chosen: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All fields but the state, which is the texts on the path from the root.

        Of its last step there are ``logprob`` (nats, the sum over its tokens), ``step_tokens`` and
        ``ended``; None for the root.
        """
        names = (name for name in self.__slots__ if name != "state")
        step = self.state.steps[-1] if self.state.steps else None
        return {
            **{name: getattr(self, name) for name in names},
            "logprob": step.logprob if step else None,
            "step_tokens": step.tokens if step else None,
            "ended": step.ended if step else None,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found and what it spent.

    Attributes:
        problem: the question.
        best: the returned trajectory; its score is f. None when none was finished.
        finished: all finished trajectories, in the order in which they were finished.
        nodes: the tree, in order of insertion; empty after an error.
        policy_tokens: policy tokens charged.
        value_calls: actions scored, by the Q-value model and the process reward model.
        expansions: states whose actions were sampled.
        stop_reason: ``"finished"`` (as many trajectories as wanted), ``"budget"`` (a limit was
            reached before), ``"exhausted"`` (nothing left to expand) or ``"error"``.
        error: type and message of the error, else empty.
        leads: where the largest f does not say what a smaller budget would have returned: (policy
            tokens spent, id of the node that would be returned from then on), by tokens. None
            where it does.
        exchanges: what was asked and answered (`qstar_core.search.replay.compact`), None after an
            error; how it was asked is no part of what was found, so it does not count in ``==``.
        seconds: machine seconds of the search, its share of the time (`budget.AmortizedClock`).
            Two results are equal whatever their seconds.
    """

    problem: Problem
    best: Trajectory | None
    finished: list[Trajectory]
    nodes: list[Node]
    policy_tokens: int
    value_calls: int
    expansions: int
    stop_reason: StopReason
    error: str = ""
    leads: list[tuple[int, int]] | None = None
    exchanges: dict[str, Any] | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)


Search = Asking[SearchResult]
"""A search under way: yields lists of requests, is sent lists of answers, returns its result."""


@dataclass(slots=True)
class Tree:
    """The nodes of one search; children of one node differ in text or ending."""

    problem: Problem
    config: SearchConfig
    nodes: list[Node] = field(default_factory=list)
    clock: int = 0
    """Policy tokens that were spent when what is added now was there: the stamp of new nodes."""
    _children: dict[tuple[int, str, bool], Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes.append(Node(0, -1, State(self.problem), self.problem.prompt))

    @property
    def root(self) -> Node:
        """The question before any step."""
        return self.nodes[0]

    def add(
        self, parent: Node, step: Step, q: float | None = None, reward: float | None = None
    ) -> Node:
        """The child of ``parent`` by ``step``: the one that is there, or a new one with its g.

        Args:
            parent: where the step is taken.
            step: the action.
            q: its Q, if known.
            reward: its R_P, where a model says it; `set_reward` may set it later.
        """
        key = (parent.id, step.text, step.ended)
        if key in self._children:
            return self._children[key]
        state = parent.state.after(step)
        node = Node(
            id=len(self.nodes),
            parent=parent.id,
            state=state,
            text=step.text,
            q=q,
            tokens=self.clock,
            terminal=self.ends(parent, step),
        )
        self.nodes.append(node)
        self._children[key] = node
        if self.config.reward != "prm":
            rewards = process_rewards(self.config.reward, self.problem, state.steps)
            node.reward, node.g = rewards[-1], AGGREGATIONS[self.config.aggregation](rewards)
        elif reward is not None:
            self.set_reward(node, reward)
        return node

    def ends(self, parent: Node, step: Step) -> bool:
        """Whether a step of a node is terminal."""
        after = (*parent.state.steps, step)
        found: bool = DOMAINS[self.problem.domain].is_terminal(self.problem, after)
        return found

    def child(self, parent: Node, text: str, ended: bool) -> Node | None:
        """The child of a node by the text and ending of its step, if there is one."""
        return self._children.get((parent.id, text, ended))

    def set_reward(self, node: Node, reward: float) -> None:
        """Sets the R_P that a model gave a node, and its g; its ancestors have theirs."""
        node.reward = reward
        rewards = [n.reward for n in self.path(node) if n.reward is not None]
        node.g = AGGREGATIONS[self.config.aggregation](rewards)

    def add_drawn(self, drawn: Drawn) -> Node:
        """The node at the end of a rollout from the root; what is new of it is stamped with it."""
        self.clock = drawn.spent
        node = self.root
        for step in drawn.steps:
            node = self.add(node, step)
        return node

    def path(self, node: Node) -> list[Node]:
        """The nodes from the first step to this one."""
        found = [node]
        while found[-1].parent > 0:
            found.append(self.nodes[found[-1].parent])
        return found[::-1]

    def rank(self, node: Node, h: float | None) -> None:
        """Sets h and f = g + lambda * h; without h (lambda = 0, greedy) f is g."""
        node.h = h
        node.f = node.g if h is None else node.g + self.config.lam * h

    def result(self, finished: Sequence[Node], ledger: Ledger, done: bool) -> SearchResult:
        """The result of a search that ends: the finished trajectory with the largest f is best.

        Args:
            finished: terminal nodes with f; among equal f the first is returned.
            ledger: what was spent.
            done: whether there are as many as were wanted.
        """
        best = max(finished, key=lambda node: node.f or 0.0, default=None)
        node = best
        while node is not None:
            node.chosen = True
            node = self.nodes[node.parent] if node.parent >= 0 else None
        reason: StopReason = "budget" if ledger.over else "exhausted"
        return SearchResult(
            problem=self.problem,
            best=None if best is None else Trajectory(best.state, best.f or 0.0),
            finished=[Trajectory(node.state, node.f or 0.0) for node in finished],
            nodes=self.nodes,
            policy_tokens=ledger.policy_tokens,
            value_calls=ledger.value_calls,
            expansions=ledger.expansions,
            stop_reason="finished" if done else reason,
            seconds=ledger.seconds,
        )
