"""Expert iteration: each round samples, labels, trains and evaluates with a better policy.

Round 1 is a run as it always is. Its correct rollouts fine-tune the policy (stage ``sft``), and
round 2 is the same run with this policy, its own Q-value model included; and so on. This is
ReST-EM (arXiv 2312.06585) with a Q-value model and a search in each round.

1. By default each round fine-tunes the policy of the first round, on the rollouts of the round
   before alone, as ReST-EM does; ``sft.start: previous`` goes on from the last policy instead.
2. The configuration of a later round names the policy by the folder of its data set, so each data
   set says by itself what it was made from, and ``policy.path`` may name that folder in any run.
   The folder has the key of the data set in its name: all keys are known before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from qstar_core.config import RunConfig
from qstar_core.planning import add_sft, plan, plan_round
from qstar_core.stage import Stage, add


@dataclass(frozen=True)
class Round:
    """One round of expert iteration.

    Attributes:
        number: from 1.
        config: of the run that the round is.
        stages: of the round, in order; all but the last round end with the next policy, ``sft``.
    """

    number: int
    config: RunConfig
    stages: dict[str, Stage]

    def label(self, name: str) -> str:
        """What a stage is called among those of all rounds."""
        return name if self.number == 1 else f"{name} ({self.number})"


def rounds(config: RunConfig) -> list[Round]:
    """The rounds of a run in order; without expert iteration there is one.

    Raises:
        UserError: as `qstar_core.planning.plan`.
    """
    found, current = [Round(1, config, plan(config))], config
    for number in range(2, config.rounds + 1):
        current = with_policy(current, add_sft(found[-1].stages, current).uri)
        found.append(Round(number, current, plan_round(current)))
    return found


def with_policy(config: RunConfig, folder: str) -> RunConfig:
    """The configuration of the round after one, whose policy will be in a folder."""
    base = None
    if config.sft.start == "base":
        base = config.policy.path if config.sft.base is None else config.sft.base
    policy = config.policy.model_copy(update={"path": folder})
    sft = config.sft.model_copy(update={"base": base})
    return config.model_copy(update={"policy": policy, "sft": sft, "rounds": 1})


def summary(config: RunConfig) -> Stage | None:
    """The stage that puts the evaluations of all rounds side by side; None for a single round."""
    found = rounds(config)
    if len(found) == 1:
        return None
    stages = {
        "evaluation" if each.number == 1 else f"evaluation_{each.number}": each.stages["evaluation"]
        for each in found
    }
    names = list(stages)
    shown = {
        "evaluations": [stages[name].key for name in names],
        "bootstrap_samples": config.evaluation.bootstrap_samples,
        "seed": config.seed,
    }
    add(stages, config.out, "rounds", shown, *names)
    return stages["rounds"]
