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
from qstar_core.adaptive_stages import embedding_of, needs_q, section  # noqa: E402
from qstar_core.config import RunConfig  # noqa: E402
from qstar_core.config_file import load_config  # noqa: E402
from qstar_core.configuring import few_shot, logged  # noqa: E402
from qstar_core.configuring.models import Models  # noqa: E402
from qstar_core.configuring.rewarding import graded, question  # noqa: E402
from qstar_core.configuring.trials import Trial, Trials  # noqa: E402
from qstar_core.domains import problem_sets  # noqa: E402
from qstar_core.evaluation.crossed import crossed_bootstrap  # noqa: E402
from qstar_core.evaluation.few_shot_chart import few_shot_chart  # noqa: E402
from qstar_core.keys import content_id  # noqa: E402
from qstar_core.loading import load_policy, load_value  # noqa: E402
from qstar_core.mdp import Problem  # noqa: E402
from qstar_core.policies.checkpoint import resolve_checkpoint  # noqa: E402
from qstar_core.policies.identity import identity  # noqa: E402

CHUNK = 25  # questions whose trials are kept together
DRAWN = ("policy", "linucb", few_shot.FIXED)
SHOWN = {
    "policy": "learned",
    "linucb": "LinUCB",
    few_shot.FIXED: "best fixed",
    few_shot.ACCURATE: "most accurate fixed",
}


def tried(config: RunConfig, split: str, samples: int, out: Path) -> few_shot.Tried:
    """Tries all configurations on the problems of a split; what is kept is not tried again."""
    settings = section(config)
    space, problems = space_of(settings), problem_sets.problems(config.domain, split, config.seed)
    encoder = Encoder(embedding_of(config), pooling=settings.pooling)
    asked = tuple(p.id for p in problems), encoder.embed([question(p) for p in problems])
    shape = [config.domain.ranges.rows(), space.id, settings.method.rows(), config.seed]
    key = content_id("tried", *shape, identity(config.policy))[:8]
    parts, trials = [], None
    for sample in range(samples):
        for first in range(0, len(problems), CHUNK):
            path = out / f"{split}-{sample}-{first:04d}-{key}.parquet"
            if not path.is_file():
                trials = trials or Trials(config, space, models(config))
                table = _try(trials, problems[first : first + CHUNK], first, sample)
                pq.write_table(table, path.with_suffix(".writing"))
                path.with_suffix(".writing").replace(path)
                print(f"{split} {sample} {first + CHUNK}", file=sys.stderr, flush=True)
            parts.append(pq.read_table(path))
    return few_shot.Tried(Questions(*asked), pa.concat_tables(parts).combine_chunks())


def models(config: RunConfig) -> Models:
    """The policy, and the Q-value model of ``qvm.path`` where the searches ask it."""
    value = None
    if needs_q(config, section(config).searches()):
        value = load_value(resolve_checkpoint(config.qvm.path or "", "qvm.path"), config)
    return Models(load_policy(config.policy), value)


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
        names = [*DRAWN]
        if count == min(most, max(options.questions)):
            names += [few_shot.ACCURATE, *(f"only-{name}" for name in space.names)]
        for seed in range(options.seeds):
            part = train.some(count, seed)
            x = held_out.questions.embeddings
            for name, taken in few_shot.choices(part, x, space, settings, seed, names):
                yield {"questions": count, "seed": seed, "method": name, "taken": taken}


def told(solved: np.ndarray, base: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Share solved, tokens, and the difference to the base; each given [seeds, questions]."""
    low, high = crossed_bootstrap(solved, seed=0)
    more_low, more_high = crossed_bootstrap(solved - base, seed=0)
    return {
        "accuracy": float(solved.mean()),
        "low": low,
        "high": high,
        "difference": float((solved - base).mean()),
        "difference_low": more_low,
        "difference_high": more_high,
        "tokens": float(tokens.mean()),
    }


def compared(
    held_out: few_shot.Tried, samples: int, space: ActionSpace, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of the curve and of the table.

    Args:
        held_out: held-out questions, all of the first sample before all of the second.
        samples: of each.
        space: of the configurations.
        rows: of `learned`.
    """
    solved, tokens = (held_out.means(space, column) for column in ("reward", "tokens"))
    place, episodes = np.arange(len(solved)), held_out.table.num_rows // samples
    weights: dict[tuple[int, str], list[np.ndarray]] = {}
    for row in rows:
        taken = np.zeros_like(solved)
        taken[place, row["taken"]] = 1
        weights.setdefault((row["questions"], row["method"]), []).append(taken)
    most = max(count for count, _ in weights)
    first = few_shot.Tried(held_out.questions, held_out.table.slice(0, episodes)).means(space)
    right = first == first.max(axis=1, keepdims=True)
    again = (samples * solved - first) / (samples - 1) if samples > 1 else solved
    seeds = len(weights[most, few_shot.FIXED])
    weights[most, "random"] = [np.full_like(solved, 1 / space.size)] * seeds
    informed = right / right.sum(axis=1, keepdims=True)
    if samples > 1:
        weights[most, "oracle"] = [informed] * seeds
    worth = {
        key: np.stack([(w * (again if key[1] == "oracle" else solved)).sum(1) for w in each])
        for key, each in weights.items()
    }
    cost = {key: np.stack([(w * tokens).sum(1) for w in each]) for key, each in weights.items()}
    lucky = (most, "oracle, lucky")
    worth[lucky], cost[lucky] = (
        np.tile(each, (seeds, 1)) for each in (first.max(axis=1), (informed * tokens).sum(1))
    )
    return [
        {
            "questions": count,
            "method": name,
            **told(each, worth[count, few_shot.FIXED], cost[count, name]),
        }
        for (count, name), each in worth.items()
    ]


def lines(points: list[dict[str, Any]], values: list[dict[str, Any]]) -> Iterator[str]:
    """The tables, in Markdown."""
    most = max(row["questions"] for row in points)
    head = "solved | 95 % | more than best fixed, points | 95 % | tokens"
    yield f"| {most} training questions | {head} |"
    yield "|---|---|---|---|---|---|"
    for row in sorted((r for r in points if r["questions"] == most), key=lambda r: r["accuracy"]):
        share = f"{row['accuracy']:.1%} | {row['low']:.1%} to {row['high']:.1%}"
        more = f"{100 * row['difference']:+.1f} | "
        more += f"{100 * row['difference_low']:+.1f} to {100 * row['difference_high']:+.1f}"
        name = SHOWN.get(row["method"], row["method"])
        yield f"| {name} | {share} | {more} | {row['tokens']:.1f} |"
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
    taken = list(learned(train, held_out, config, options))
    points = compared(held_out, options.samples, space, taken)
    values = few_shot.by_value(train.means(space), space)
    print("\n".join(lines(points, values)))
    drawn = [{**row, "method": SHOWN[row["method"]]} for row in points if row["method"] in DRAWN]
    (out / "few-shot.svg").write_text(few_shot_chart(drawn), encoding="utf-8")
    text = json.dumps({"points": points, "values": values}, indent=1) + "\n"
    (out / "figures.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
