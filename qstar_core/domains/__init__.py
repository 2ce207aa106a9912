"""What is reasoned about: one module per domain, all with the same functions.

A domain module offers ``max_steps``, ``is_terminal``, ``answer``, ``grade`` and ``rule_rewards``;
where it can be told, ``lenient`` (is a trajectory right but for its form), ``canonical`` and
``q_star`` (the truth), and ``question`` (the text without the standard prompt around it) or
``prompt_fields`` (all that a template of prompts may use); plus the names ``GRADER`` and
``GRADER_VERSION`` of its grader. A grader that works on many at once has ``grade_many`` as well
(`qstar_core.domains.many`), one that needs something of the machine ``check_machine``; a domain
whose steps are so many tokens long says ``STEP_TOKENS``. Where the problems come from is in
`qstar_core.domains.problem_sets`.
"""

from __future__ import annotations

from types import ModuleType

from qstar_core.domains import choice, countdown, gsm8k, math, mbpp

DOMAINS: dict[str, ModuleType] = {
    "choice": choice,
    "countdown": countdown,
    "gsm8k": gsm8k,
    "math": math,
    "mbpp": mbpp,
}
