"""What ``qstar deploy`` says: one line per object on the server, and what to do next."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from flows.deploy import deploy
from flows.tables import say

WOULD = {"made": "would make", "changed": "would change", "left": "leaves", "skipped": "skips"}
NO_BLOCK = (
    "Nobody is told of failed and late runs yet. Next: make a block for notifications with the "
    "name that is said above (docs/deploying.md), then qstar deploy"
)


def show_deploy(console: Console, file: str, dry_run: bool) -> Counter[str]:
    """Deploys and prints; returns how many objects were made, changed, left and skipped."""
    states: Counter[str] = Counter()
    for step in deploy(file, dry_run):
        states[step.state] += 1
        word = WOULD[step.state] if dry_run else step.state
        said = f"  ({step.said})" if step.said else ""
        say(console, f"{word:<12} {step.kind} {step.name}{said}")
    counts = [f"{count} {state}" for state, count in states.items()]
    say(console, f"{'Would be: ' if dry_run else ''}{', '.join(counts)}.")
    if states["skipped"]:
        say(console, NO_BLOCK)
    return states
