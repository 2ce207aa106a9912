"""The work of the stages ``episodes`` and ``adaptive``; see `qstar_core.jobs`.

``episodes`` tries random configurations, or all of them, on a range of training questions.
``adaptive`` trains one learner per shard; its files are the learner, as safetensors and JSON, and
the episodes that it learnt from.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qstar_core.adaptive.actions import Action, ActionSpace, space_of
from qstar_core.adaptive.episodes import Batch, Result, to_table
from qstar_core.adaptive_stages import section
from qstar_core.config import RunConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.finishing import Receipt, Spec, finish, put
from qstar_core.loading import told
from qstar_core.mdp import Problem
from qstar_core.store import dataset, open_store

if TYPE_CHECKING:
    from qstar_core.adaptive.training import Collect, Questions

Progress = Callable[[int, int, str, str], None]


def episodes(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Tries configurations on a range of training questions."""
    from qstar_core.configuring import logged  # learners load torch

    adaptive, space = section(config), space_of(section(config))
    start, stop = spec["start"], spec["stop"]
    chosen = read_problems(spec["inputs"]["problems"], "train")[start:stop]
    batch = logged.draw(
        space, adaptive, [p.id for p in chosen], start, adaptive.seed_of(config.seed)
    )
    counted = Counted(progress, len(batch))
    collect = trying(spec, config, space, {p.id: p for p in chosen}, counted)
    results = collect(batch)
    figures = {**counted.figures(results), **told_of(config)}
    return finish(spec, {f"part-{spec['shard']}": to_table(space, batch, results)}, figures)


def adaptive(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains one learner; goes on where a worker that was killed had been."""
    from qstar_core.audit.questions import check_leakage
    from qstar_core.configuring import learners, logged
    from qstar_core.configuring.models import load_encoder

    settings, space, name = section(config), space_of(section(config)), spec["learner"]
    allowed = check_leakage(spec["inputs"]["problems"], config, model="adaptive")
    problems = {p.id: p for p in read_problems(spec["inputs"]["problems"], "train")}
    questions = embedded(list(problems.values()), load_encoder(spec, config))
    table = logged.read_logged(spec["inputs"]["episodes"]) if settings.logged else None
    best = None if table is None else logged.best_fixed(space, table, settings.price_per_token)
    own = learners.space_for(name, space, best)
    store, began = open_store(spec["uri"]), time.monotonic()
    scratch, kept = store.scratch(), store.kept(spec["shard"])
    course = learners.Course(name, own, questions, settings, settings.seed_of(config.seed), kept)
    collect: Collect
    if table is not None and settings.source == "logged":
        collect = logged.Lookup(own, table, space)
    else:
        collect = trying(spec, config, own, problems, Counted(lambda *_: None, 0))
    keeper = learners.Kept(course, collect)

    def done(episode: int, utility: float) -> None:
        progress(episode, settings.episodes, "episodes", f"{name}, utility {utility:.3f}")

    actions = learners.learn(course, keeper, scratch, done)
    tried = keeper.table()
    dataset.write_table(scratch / f"part-{name}.parquet", tried)
    figures = {
        "seconds": round(time.monotonic() - began, 3),
        **learners.figures(course, tried, actions),
        **told_of(config),
    }
    if table is not None and best is not None:
        figures |= logged.judged(space, table, settings.price_per_token, best, course, actions)
    if allowed:
        figures["allowed"] = allowed
    receipt = put(spec, scratch, sorted(f for f in scratch.iterdir() if f.is_file()), figures)
    shutil.rmtree(kept, ignore_errors=True)
    return receipt


class Counted:
    """Counts the searches and tokens of trials, and tells of them.

    Args:
        progress: told (done, total, unit, note).
        total: trials.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total = progress, total
        self.done = self.tokens = 0
        self._start = time.monotonic()

    def tell(self, finished: int, tokens: int, active: int) -> None:
        """Takes what the driver tells; see `qstar_core.search.scheduler.OnProgress`."""
        self.done, self.tokens = self.done + finished, self.tokens + tokens
        rate = self.tokens / max(1e-9, time.monotonic() - self._start)
        self.progress(self.done, self.total, "episodes", f"{rate:,.0f} tokens/s")

    def figures(self, results: Sequence[Result]) -> dict[str, Any]:
        """Of a shard of logged episodes."""
        rewards = [result.reward for result in results if result.reward is not None]
        return {
            "seconds": round(time.monotonic() - self._start, 3),
            "tokens": self.tokens,
            "reward": round(sum(rewards), 6),
            "outcomes": dict(Counter(result.outcome for result in results)),
        }


def trying(
    spec: Spec,
    config: RunConfig,
    space: ActionSpace,
    problems: dict[str, Problem],
    counted: Counted,
) -> Callable[[Batch], list[Result]]:
    """What tries the actions of a batch with the models of the run."""
    from qstar_core.configuring.models import load_models
    from qstar_core.configuring.rewarding import rewarder_of
    from qstar_core.configuring.trials import Trial, Trials

    settings = section(config)
    models = load_models(spec, config, settings.searches())
    trials, rewarder = Trials(config, space, models), rewarder_of(spec, config)
    tabulated = settings.logged == "all" and spec["stage"] == "episodes"

    def collect(batch: Batch) -> list[Result]:
        actions: list[Action] = [tuple(map(int, action)) for action in batch.drawn.actions]
        asked = [
            Trial(problems[question], action, None if tabulated else batch.first + k)
            for k, (question, action) in enumerate(zip(batch.question_ids, actions, strict=True))
        ]
        return trials.results(asked, rewarder, counted.tell)

    return collect


def told_of(config: RunConfig) -> dict[str, Any]:
    """What the servers behind the policy tell of themselves."""
    from qstar_core.loading import load_policy

    served = config.policy.backend == "server"
    return told(load_policy(config.policy), config.policy) if served else {}


def embedded(problems: Sequence[Problem], encoder: Any) -> Questions:
    """Problems as questions of a training, in the order of their ids."""
    from qstar_core.adaptive.training import Questions
    from qstar_core.configuring.rewarding import question

    ids = tuple(problem.id for problem in problems)
    return Questions(ids, encoder.embed([question(problem) for problem in problems])).sorted()
