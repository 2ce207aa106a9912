"""What is said around a run: before it, of its configuration; after it, what limits its results.

What is heavy is imported inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from qstar_core.config import RunConfig
    from qstar_core.stage import Stage


def say_doubts(screen: Console, stages: Mapping[str, Stage]) -> None:
    """Says what limits the results: problems without a solution, a Q-value model at chance."""
    from flows.remarks import doubts
    from flows.tables import say
    from qstar_core import pipeline

    known = [name for name in ("problems", "qvm") if name in stages]
    found = {name: pipeline.published(stages[name]) or {} for name in known}
    for line in doubts(found):
        say(screen, f"Note: {line}")


def say_rounds(screen: Console, stages: Mapping[str, Stage]) -> None:
    """Shows the rounds of fitted Q iteration, where there are several."""
    from flows.rounds import round_rows, rounds_table

    if "qvm_1" in stages:
        screen.print(rounds_table(round_rows(stages)))


def say_retries(screen: Console) -> None:
    """Where S3 was used: how many of its requests this command had to repeat."""
    from qstar_core.store import retries

    count = retries.total()
    if count is not None:
        screen.print(f"S3 requests repeated: {count:,}", highlight=False)


def say_fit(screen: Console, config: RunConfig) -> None:
    """Says which rows of the users' problem files are not used, and whether the policy fits."""
    from flows.tables import say
    from qstar_core.domains import problem_sets

    for note in problem_sets.notes(config.domain):
        say(screen, f"Note: {note}")
    field, start = "policy.path", config.policy.path
    if config.qvm.init is not None:
        field, start = "qvm.init", config.qvm.init
    if config.domain.name != "countdown" and start.startswith("reference:"):
        say(
            screen,
            f"Note: {start} has learnt countdown alone; samples of it, and a Q-value model that "
            f"starts from it, know nothing of {config.domain.name}: name a model with {field}.",
        )
    for pool in config.pools:
        if pool.kind == "stronger" and pool.policy is None:
            say(
                screen,
                f"Note: {pool.stage} names no policy, so the run's own continues, at temperature "
                f"{pool.temperature:g}: its labels are values of that, not of a stronger policy.",
            )


def say_absent(screen: Console, absent: Mapping[str, str]) -> None:
    """Says which checkpoints a plan had no need of, but the run will fetch."""
    from flows.tables import say

    for field, name in absent.items():
        say(
            screen,
            f"Note: {field}: {name} is not on this machine; the run fetches it first. The keys of "
            "what is made with it are known when it is here.",
        )


def say_training(screen: Console, stages: Mapping[str, Stage]) -> None:
    """Says which models a comparison trains before it compares anything."""
    from flows.tables import say
    from qstar_core import pipeline

    if "qvm" in stages and pipeline.published(stages["qvm"]) is None:
        say(
            screen,
            "Note: qvm.path names no Q-value model, and this configuration has trained none yet: "
            "the stages rollouts, labels and qvm come first.",
            "      --set qvm.path=FOLDER, or reference:NAME, compares with one that is there.",
        )
    if "prm" in stages and pipeline.published(stages["prm"]) is None:
        say(
            screen,
            "Note: prm.path names no process reward model, and this configuration has trained none "
            "yet: its labels and its training come first.",
        )


def say_defaults(screen: Console, config: RunConfig) -> None:
    """Says which run it is that a configuration without a single field stands for."""
    from flows.tables import say
    from qstar_core.config import RunConfig
    from qstar_core.domains import problem_sets

    if config != RunConfig(out=config.out):
        return
    train, test = (problem_sets.count(config.domain, s) for s in ("train", "test"))
    say(
        screen,
        f"Note: the configuration sets no field, so all have their defaults: {config.domain.name}, "
        f"{train:,} training and {test:,} test problems, {config.rollouts.samples} rollouts of "
        f"{config.policy.path} each.",
    )
