"""Whether a fine-tuned policy is measured on problems that it was trained on.

A policy may be used in any run later, with other test problems than those that its training looked
at. Its manifest names the problems of its own run, which lie beside it, and the policy that it was
trained from, which may be a fine-tuned one too.
"""

from __future__ import annotations

from typing import Any

from qstar_core.audit.questions import SEARCHED, refuse_leakage
from qstar_core.config import RunConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.stage import fine_tuned
from qstar_core.store import dataset
from qstar_core.store.uri import join


def trained_on(path: str) -> list[str]:
    """Folders of the problems that a policy and those before it were fine-tuned on.

    Args:
        path: of the policy; any other than a fine-tuned one was trained on nothing that is known.

    Returns:
        Those that are still there, the policy's own first.
    """
    found: list[str] = []
    while key := fine_tuned(path):
        folder = path.rstrip("/")
        manifest: dict[str, Any] = dataset.read_manifest(folder) or {}
        out = folder.removesuffix(f"sft/{key}").rstrip("/") or "."
        problems = join(out, f"problems/{manifest.get('inputs', {}).get('problems')}")
        if problems not in found and dataset.read_manifest(problems) is not None:
            found.append(problems)
        config = manifest.get("config", {})
        path = (config.get("sft") or {}).get("base") or config.get("policy", {}).get("path", "")
    return found


def check_policy(config: RunConfig, problems: str) -> None:
    """Refuses to search test problems that the policy was fine-tuned on.

    Args:
        config: of the run.
        problems: folder of its published problems. A policy that was trained on the same data set
            was held to its test problems then.

    Raises:
        UserError: there are such problems, or near-duplicates, and ``qvm.allow`` does not say so.
    """
    test = read_problems(problems, "test")
    for folder in trained_on(config.policy.path):
        if folder.rpartition("/")[2] != problems.rstrip("/").rpartition("/")[2]:
            train = [p for p in read_problems(folder, "train") if p.split == "train"]
            refuse_leakage(train, test, config.qvm.allow, SEARCHED)
