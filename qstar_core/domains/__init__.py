"""What is reasoned about: one module per domain, all with the same functions.

A domain module offers ``max_steps``, ``is_terminal``, ``answer``, ``grade`` and ``rule_rewards``;
where it can be told, ``lenient`` (is a trajectory right but for its form), ``canonical`` and
``q_star`` (the truth); plus the names ``GRADER`` and ``GRADER_VERSION`` of its grader. Where the
problems come from is in `qstar_core.domains.problem_sets`.
"""

from __future__ import annotations

from types import ModuleType

from qstar_core.domains import countdown, gsm8k

DOMAINS: dict[str, ModuleType] = {"countdown": countdown, "gsm8k": gsm8k}
