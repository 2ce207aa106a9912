"""Trials: a question is answered under a configuration, and what came of it is judged.

A configuration changes the prompt of the question and the settings of the search; by default the
search is one sample. All trials of a call are advanced together, whatever their settings, by the
driver that evaluations use, so tokens are counted and failures reported as there.

1. The seed of a trial comes from (run seed, question, space, action, index). Without an index it is
   the run's, and the search is the one that an evaluation with these settings would make.
2. A search that ends with an error has no reward: nothing is learnt from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qstar_core.adaptive.actions import Action, ActionSpace
from qstar_core.adaptive.episodes import Result
from qstar_core.adaptive_stages import section
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.config_adaptive import BUDGET, SETTINGS
from qstar_core.configuring.models import Models
from qstar_core.configuring.rewarding import Answered, Rewarder
from qstar_core.evaluation.run import SEARCH_ERROR
from qstar_core.keys import content_id, sample_seed
from qstar_core.mdp import Problem
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run_each
from qstar_core.search.scheduler import OnProgress, OnResult
from qstar_core.search.scorers import Scorers
from qstar_core.search.slot import Rules
from qstar_core.search.trace import SearchResult

Progress = Callable[[int, int, str, str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A question under a configuration.

    Attributes:
        problem: the question, without instructions.
        action: the configuration, one index per factor.
        index: tells trials of the same two apart; None is that of an evaluation.
    """

    problem: Problem
    action: Action
    index: int | None = None


def configured(method: SearchConfig, values: dict[str, Any]) -> SearchConfig:
    """A search with the settings of a configuration; what is said in the prompt is left out."""
    own = {name: value for name, value in values.items() if name in SETTINGS and name != BUDGET}
    return SearchConfig.model_validate({**method.model_dump(), **own}) if own else method


class Trials:
    """Makes trials.

    Args:
        config: of the run, with the section adaptive.
        space: of the configurations.
        models: what the searches ask.
        budget: limits of a trial; None is those of the configuration. A factor
            ``max_policy_tokens`` can only make them tighter.
    """

    def __init__(
        self, config: RunConfig, space: ActionSpace, models: Models, budget: Budget | None = None
    ) -> None:
        self.config, self.space, self.models = config, space, models
        self.adaptive = section(config)
        limits = config.evaluation
        tokens = self.adaptive.max_policy_tokens or limits.max_policy_tokens
        usual = Budget(tokens, limits.max_value_calls, limits.max_expansions)
        self.budget = budget or usual
        self._methods: dict[Action, tuple[SearchConfig, Budget]] = {}

    def asked(self, trial: Trial) -> Problem:
        """The question with its instructions."""
        prompt = self.space.render(trial.problem.prompt, trial.action)
        return replace(trial.problem, prompt=prompt)

    def rules(self, trial: Trial) -> Rules:
        """Method, budget and seed of a trial."""
        if trial.action not in self._methods:
            self._methods[trial.action] = self._settings(trial.action)
        method, budget = self._methods[trial.action]
        seed, limits = self.config.seed, self.config
        if trial.index is not None:
            row = content_id("trial", trial.problem.id, self.space.id, list(trial.action))
            seed = sample_seed(seed, row, trial.index)
        steps, new = limits.evaluation.max_step_tokens, limits.rollouts.max_new_tokens
        return Rules(method, budget, seed, steps, new)

    def _settings(self, action: Action) -> tuple[SearchConfig, Budget]:
        values = self.space.configuration(action)
        method = configured(self.adaptive.method, values)
        limit = int(values.get(BUDGET, self.budget.policy_tokens))
        tokens = min(limit, self.budget.policy_tokens)
        # the driver tells methods apart by their names
        name = content_id("settings", method.rows())
        return method.model_copy(update={"name": name}), replace(self.budget, policy_tokens=tokens)

    def search(
        self, trials: Sequence[Trial], on_result: OnResult, on_progress: OnProgress | None = None
    ) -> None:
        """Searches; ``on_result`` gets each result with the place of its trial."""
        if not trials:
            return
        given = [(self.asked(trial), self.rules(trial)) for trial in trials]
        scorers = Scorers(self.models.value, self.models.prm)
        active = self.config.evaluation.active
        run_each(given, self.models.policy, scorers, active, on_result, on_progress)

    def results(
        self,
        trials: Sequence[Trial],
        rewarder: Rewarder,
        on_progress: OnProgress | None = None,
    ) -> list[Result]:
        """What came of each trial, in their order; none where its search failed.

        Raises:
            EngineUnavailable: an engine cannot be reached.
        """
        found: dict[int, tuple[list[str], int, str]] = {}

        def take(place: int, result: SearchResult) -> None:
            steps = [step.text for step in result.best.state.steps] if result.best else []
            error = result.error if result.stop_reason == "error" else ""
            found[place] = (steps, result.policy_tokens, error)

        self.search(trials, take, on_progress)
        answered = [
            Answered(trial.problem, found[k][0])
            for k, trial in enumerate(trials)
            if not found[k][2]
        ]
        judged = iter(rewarder(answered))
        results = []
        for k, trial in enumerate(trials):
            _, tokens, error = found[k]
            result = Result(None, SEARCH_ERROR, reason=error) if error else next(judged)
            results.append(replace(result, tokens=tokens, sample_ids=(self._id(trial),)))
        return results

    def _id(self, trial: Trial) -> str:
        shape = [trial.problem.id, self.space.id, list(trial.action), trial.index]
        return content_id("trial", *shape, self.models.policy.fingerprint, self.config.seed)
