"""What is reasoned about: one module per domain, all with the same functions.

A domain module offers ``max_steps``, ``is_terminal``, ``grade``, ``rule_rewards`` and, where the
truth can be computed, ``q_star``; where a form can spoil a right answer, ``lenient``, which looks
past it; plus the names ``GRADER`` and ``GRADER_VERSION`` of its grader.
"""

from __future__ import annotations

from types import ModuleType

from qstar_core.domains import countdown

DOMAINS: dict[str, ModuleType] = {"countdown": countdown}
