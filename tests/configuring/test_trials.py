from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstar_core.adaptive.actions import space_of
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.configuring.models import Models
from qstar_core.configuring.rewarding import Answered, graded, question, rewarder_of
from qstar_core.configuring.trials import Trial, Trials, configured
from qstar_core.domains import choice, problem_sets
from qstar_core.mdp import Problem
from qstar_core.policies import Policy, SampleRequest
from qstar_core.policies.script import ScriptPolicy
from qstar_core.search.trace import SearchResult
from tests.configuring.runs import WORDS, best_word, config_of
from tests.models import tiny_classifier


class Recording:
    """A policy that keeps what it was asked."""

    batch_independent = True

    def __init__(self, inner: Policy) -> None:
        self.inner, self.asked = inner, list[SampleRequest]()
        self.fingerprint = inner.fingerprint

    def sample(self, requests: Any, done: Any = None) -> Any:
        self.asked += requests
        return self.inner.sample(requests, done)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return config_of(tmp_path / "out")


def trials_of(config: RunConfig) -> tuple[Trials, Recording, list[Problem]]:
    assert config.adaptive is not None
    policy = Recording(ScriptPolicy(config.policy.path))
    trials = Trials(config, space_of(config.adaptive), Models(policy))
    return trials, policy, problem_sets.problems(config.domain, "train", config.seed)


def test_a_configuration_is_in_the_prompt_and_in_the_settings(config: RunConfig) -> None:
    trials, policy, problems = trials_of(config)
    found: dict[int, SearchResult] = {}
    asked = [Trial(problems[0], action, 0) for action in ((1, 0), (2, 1))]
    trials.search(asked, found.__setitem__)
    said = [(ask.prompt, ask.temperature, len(ask.seeds)) for ask in policy.asked]
    prompt = problems[0].prompt
    assert said == [(f"red {prompt}", 1.0, 1), (f"blue {prompt}", 0.0, 1)]
    assert sorted(found) == [0, 1]


def test_rewards_are_those_of_the_original_question(config: RunConfig) -> None:
    trials, _, problems = trials_of(config)
    asked = [Trial(p, (k, 1), 0) for p in problems for k in range(3)]
    results = trials.results(asked, graded)
    for trial, result in zip(asked, results, strict=True):
        right = WORDS[trial.action[0]] == best_word(trial.problem)
        assert (result.reward, result.outcome) == (float(right), "correct" if right else "wrong")
        assert result.tokens and result.tokens > 3
    assert len({result.sample_ids for result in results}) == len(results)


def test_a_trial_depends_on_itself_alone(config: RunConfig) -> None:
    """Neither on its batch nor on its place; another index is another draw."""
    trials, policy, problems = trials_of(config)
    asked = [Trial(p, (1, 0), index) for p in problems[:6] for index in (0, 1)]
    together = trials.results(asked, graded)
    alone = [trials.results([trial], graded)[0] for trial in reversed(asked)]
    assert together == alone[::-1]
    seeds = [ask.seeds for ask in policy.asked]
    assert len(set(seeds)) == len(asked)


def test_without_an_index_it_is_the_search_of_an_evaluation(config: RunConfig) -> None:
    trials, _, problems = trials_of(config)
    rules = trials.rules(Trial(problems[0], (0, 0)))
    assert rules.run_seed == config.seed
    assert rules.run_seed != trials.rules(Trial(problems[0], (0, 0), 0)).run_seed


def test_the_tokens_of_a_trial_can_be_chosen_but_not_exceed_the_limit(tmp_path: Path) -> None:
    factors = [{"name": "max_policy_tokens", "values": [50, 5000]}, {"name": "n", "values": [1, 3]}]
    config = config_of(tmp_path / "out", factors=factors, template="{prompt}")
    trials, _, problems = trials_of(config)
    limits = [trials.rules(Trial(problems[0], (k, 1))).budget.policy_tokens for k in (0, 1)]
    assert limits == [50, config.evaluation.max_policy_tokens]
    assert trials.rules(Trial(problems[0], (0, 1))).config.n == 3


def test_a_search_that_fails_has_no_reward(config: RunConfig) -> None:
    trials, _, problems = trials_of(config)
    lost = problem_sets.problems(config.domain, "train", seed=99)[0]
    good, failed = trials.results([Trial(problems[0], (0, 1), 0), Trial(lost, (0, 1), 0)], graded)
    assert good.reward == 0.0
    assert (failed.reward, failed.outcome) == (None, "search_error")
    assert "no text that begins" in failed.reason


def test_settings_are_checked() -> None:
    method = SearchConfig(name="m", algorithm="greedy")
    assert configured(method, {"word": "red"}) is method
    assert configured(method, {"k": 3}).k == 3
    with pytest.raises(ValueError, match="greater than or equal"):
        configured(method, {"k": 0})


def test_a_reward_model_is_asked_about_answers_that_ended(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "classifier")
    config = config_of(tmp_path / "out", reward="model", reward_model=str(folder))
    problem = problem_sets.problems(config.domain, "train", config.seed)[0]
    rewarder = rewarder_of({}, config)
    scored, nothing = rewarder([Answered(problem, ["1 + 1 = 2"]), Answered(problem, [])])
    assert scored.outcome == "scored" and scored.reward is not None and 0 <= scored.reward <= 1
    assert (nothing.reward, nothing.outcome) == (0.0, "no_answer")


def test_a_judge_s_verdict_is_the_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qstar_core.configuring import rewarding

    class Verdict:
        fingerprint = "judge"
        batch_independent = True

        def sample(self, requests: Any, done: Any = None) -> Any:
            from qstar_core.mdp import Step
            from qstar_core.policies import Sample

            found = ["Verdict: correct" if "2 left" in r.prompt else "hm" for r in requests]
            return [[Sample((Step(text, 2, ended=True),), "end")] for text in found]

    monkeypatch.setattr(rewarding, "load_judge", lambda config, meter: Verdict())
    config = config_of(tmp_path / "out", reward="judge", judge={"path": "somewhere"})
    problem = problem_sets.problems(config.domain, "train", config.seed)[0]
    texts = (["1 + 1 = 2 left"], ["1 + 2 = 3"])
    results = rewarder_of({}, config)([Answered(problem, steps) for steps in texts])
    assert [result.reward for result in results] == [1.0, None]


def test_the_question_is_embedded_without_the_prompt_around_it() -> None:
    problem = choice.make_problem("Which is prime?", {"A": "21", "B": "23"}, "23", "train")
    assert question(problem) == "Which is prime?\nA. 21\nB. 23"
