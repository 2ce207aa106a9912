"""What choosing a configuration by question is worth: learned against the best fixed one.

    python benchmarks/adaptive.py [--config deployments/adaptive-countdown.yaml] [--seeds 5]
        [--questions 25,50,100,200,400] [--samples 2] [--out results/adaptive-benchmark]

Tries every configuration once on each training question and ``--samples`` times on each held-out
one. Then, for each seed, learners learn from the training questions alone, and what they take on
the held-out ones is looked up. A seed decides order, first weights and, where not all questions are
learnt from, which ones. What was tried is kept in ``--out``; an interrupted run goes on.

The first table has the solved share of the held-out questions, and the difference to the best fixed
configuration with a 95 % interval, questions and seeds resampled (10,000 times). ``oracle`` takes
what was right in the first sample and is judged by the others; ``oracle, lucky`` counts a question
where any configuration was right in the first. The second has the effect of each value on training
questions. ``few-shot.svg`` is the curve. Held-out questions decide nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from qstar_core.adaptive.actions import ActionSpace, space_of  # noqa: E402
from qstar_core.adaptive.embedding import Encoder  # noqa: E402
from qstar_core.adaptive.episodes import to_table  # noqa: E402
from qstar_core.adaptive.training import Questions  # noqa: E402
from qstar_core.adaptive_stages import embedding_of, section  # noqa: E402
from qstar_core.config import RunConfig  # noqa: E402
from qstar_core.config_file import load_config  # noqa: E402
from qstar_core.configuring import few_shot, logged  # noqa: E402
from qstar_core.configuring.models import Models  # noqa: E402
from qstar_core.configuring.rewarding import graded, question  # noqa: E402
from qstar_core.configuring.trials import Trial, Trials  # noqa: E402
from qstar_core.domains import problem_sets  # noqa: E402
from qstar_core.evaluation.crossed import crossed_bootstrap  # noqa: E402
from qstar_core.evaluation.few_shot_chart import few_shot_chart  # noqa: E402
from qstar_core.loading import load_policy  # noqa: E402
from qstar_core.mdp import Problem  # noqa: E402

CHUNK = 25  # questions whose trials are kept together
DRAWN = ("policy", "linucb", few_shot.FIXED)
SHOWN = {"policy": "learned", "linucb": "LinUCB", few_shot.FIXED: "best fixed"}


def tried(config: RunConfig, split: str, samples: int, out: Path) -> few_shot.Tried:
    """Tries all configurations on the problems of a split; what is kept is not tried again."""
    settings = section(config)
    space, problems = space_of(settings), problem_sets.problems(config.domain, split, config.seed)
    encoder = Encoder(embedding_of(config), pooling=settings.pooling)
    asked = tuple(p.id for p in problems), encoder.embed([question(p) for p in problems])
    parts, trials = [], None
    for sample in range(samples):
        for first in range(0, len(problems), CHUNK):
            path = out / f"{split}-{sample}-{first:04d}-{space.id[:8]}.parquet"
            if not path.is_file():
                trials = trials or Trials(config, space, Models(load_policy(config.policy)))
                table = _try(trials, problems[first : first + CHUNK], first, sample)
                pq.write_table(table, path.with_suffix(".writing"))
                path.with_suffix(".writing").replace(path)
                print(f"{split} {sample} {first + CHUNK}", file=sys.stderr, flush=True)
            parts.append(pq.read_table(path))
    return few_shot.Tried(Questions(*asked), pa.concat_tables(parts).combine_chunks())


def _try(trials: Trials, problems: Sequence[Problem], first: int, sample: int) -> pa.Table:
    ids = [problem.id for problem in problems]
    batch = logged.draw(trials.space, trials.adaptive, ids, first, trials.config.seed)
    by_id = dict(zip(ids, problems, strict=True))
    pairs = zip(batch.question_ids, batch.drawn.actions.tolist(), strict=True)
    asked = [Trial(by_id[name], tuple(action), sample) for name, action in pairs]
    return to_table(trials.space, batch, trials.results(asked, graded))


def learned(
    train: few_shot.Tried, held_out: few_shot.Tried, config: RunConfig, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """For each number of questions, seed and learner what it takes on the held-out questions."""
    settings = section(config).model_copy(update={"save_every": 10**9})
    space, most = space_of(settings), len(train.questions.ids)
    for count in options.questions:
        count = min(count, most)
        names = DRAWN if count < max(options.questions) else (*DRAWN, *_alone(space))
        for seed in range(options.seeds):
            part = train.some(count, seed)
            x = held_out.questions.embeddings
            for name, taken in few_shot.choices(part, x, space, settings, seed, names):
                yield {"questions": count, "seed": seed, "method": name, "taken": taken}


def _alone(space: ActionSpace) -> list[str]:
    return [f"only-{name}" for name in space.names]


def told(solved: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Share solved and the difference to the base, each [seeds, questions], with intervals."""
    low, high = crossed_bootstrap(solved, seed=0)
    more_low, more_high = crossed_bootstrap(solved - base, seed=0)
    return {
        "accuracy": float(solved.mean()),
        "low": low,
        "high": high,
        "difference": float((solved - base).mean()),
        "difference_low": more_low,
        "difference_high": more_high,
    }


def compared(
    rewards: np.ndarray, first: np.ndarray, again: np.ndarray, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of the curve and of the table.

    Args:
        rewards: of the held-out questions, [questions, configurations], mean of all samples.
        first: of the first sample.
        again: mean of the other samples; of the first where there is no other.
        rows: of `learned`.
    """
    place = np.arange(len(rewards))
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    for row in rows:
        solved = rewards[place, row["taken"]]
        found.setdefault((row["questions"], row["method"]), []).append(solved)
    solved_by = {key: np.stack(each) for key, each in found.items()}
    most = max(count for count, _ in solved_by)
    seeds = len(solved_by[most, few_shot.FIXED])
    among_right = np.where(first == first.max(axis=1, keepdims=True), again, np.nan)
    for name, one in (
        ("random", rewards.mean(axis=1)),
        ("oracle", np.nanmean(among_right, axis=1)),
        ("oracle, lucky", first.max(axis=1)),
    ):
        solved_by[most, name] = np.tile(one, (seeds, 1))
    return [
        {"questions": count, "method": name, **told(each, solved_by[count, few_shot.FIXED])}
        for (count, name), each in solved_by.items()
    ]


def lines(points: list[dict[str, Any]], values: list[dict[str, Any]]) -> Iterator[str]:
    """The tables, in Markdown."""
    most = max(row["questions"] for row in points)
    yield f"| {most} training questions | solved | 95 % | more than best fixed, points | 95 % |"
    yield "|---|---|---|---|---|"
    for row in sorted((r for r in points if r["questions"] == most), key=lambda r: r["accuracy"]):
        share = f"{row['accuracy']:.1%} | {row['low']:.1%} to {row['high']:.1%}"
        more = f"{100 * row['difference']:+.1f} | "
        more += f"{100 * row['difference_low']:+.1f} to {100 * row['difference_high']:+.1f}"
        yield f"| {SHOWN.get(row['method'], row['method'])} | {share} | {more} |"
    yield ""
    yield "| training questions | " + " | ".join(SHOWN[name] for name in DRAWN) + " |"
    yield "|---|" + "---|" * len(DRAWN)
    by = {(row["questions"], row["method"]): row for row in points}
    for count in sorted({row["questions"] for row in points}):
        shares = [f"{by[count, name]['accuracy']:.1%}" for name in DRAWN]
        yield f"| {count} | " + " | ".join(shares) + " |"
    yield ""
    yield "| factor | value | others at their best | mean over the others | best value for |"
    yield "|---|---|---|---|---|"
    for row in values:
        shares = f"{row['alone']:.1%} | {row['mean']:.1%} | {row['best_for']:.1%}"
        yield f"| {row['factor']} | `{row['value']}` | {shares} |"


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Tries what was not tried, trains, prints the tables and draws the curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(ROOT / "deployments/adaptive-countdown.yaml"))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--questions", type=numbers, default=[25, 50, 100, 200, 400])
    parser.add_argument(
        "--samples", type=int, default=2, help="of each held-out question, 1 or more"
    )
    parser.add_argument("--out", default="results/adaptive-benchmark")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    config = load_config(options.config, options.overrides)
    space, out = space_of(section(config)), Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    train = tried(config, "train", 1, out)
    held_out = tried(config, "test", options.samples, out)
    episodes = held_out.table.num_rows // options.samples
    once = few_shot.Tried(held_out.questions, held_out.table.slice(0, episodes))
    rest = held_out.table.slice(episodes) if options.samples > 1 else held_out.table
    again = few_shot.Tried(held_out.questions, rest)
    rewards = [each.rewards(space) for each in (held_out, once, again)]
    points = compared(*rewards, list(learned(train, held_out, config, options)))
    values = few_shot.by_value(train.rewards(space), space)
    print("\n".join(lines(points, values)))
    drawn = [{**row, "method": SHOWN[row["method"]]} for row in points if row["method"] in DRAWN]
    (out / "few-shot.svg").write_text(few_shot_chart(drawn), encoding="utf-8")
    text = json.dumps({"points": points, "values": values}, indent=1) + "\n"
    (out / "figures.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
