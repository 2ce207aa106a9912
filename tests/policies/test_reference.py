from __future__ import annotations

from qstar_core.config import RunConfig
from qstar_core.domains import countdown
from qstar_core.policies.reference import obeyed
from qstar_core.policies.scripted import ScriptedPolicy

RANGES = {"numbers": 3, "min_target": 1, "max_target": 50, "use_all": False}
CONFIG = RunConfig.model_validate(
    {"domain": {"ranges": RANGES}, "pretrain": {"instructed": True, "numbers": {3: 1.0}}}
)


def test_a_play_obeys_by_its_first_operation_and_its_lines() -> None:
    problems = [countdown.make_problem([9, 4, 2], target, use_all=False) for target in (13, 26, 7)]
    told = ("+ 1\n", "+ 2\n", "- 1\n")
    asked = [problem.prompt + each for problem, each in zip(problems, told, strict=True)]
    one, two = "9 + 4 = 13 | 13 2 > 13", "9 + 4 = 13 | 13 2 > 26\n"
    policy = ScriptedPolicy(
        {
            asked[0]: [(one, 1.0)],
            asked[1]: [(two, 1.0)],
            asked[1] + two: [("13 * 2 = 26 | 26 > 26", 1.0)],
            asked[2]: [("9 + 4 = 13 | 13 2 > 7", 1.0)],  # begins with a sum
        }
    )
    assert obeyed(policy, problems, CONFIG) == 2 / 3
    early = ScriptedPolicy({asked[0]: [(one, 1.0)], asked[1]: [(two.strip(), 1.0)]})
    assert obeyed(early, problems[:2], CONFIG) == 1 / 2
