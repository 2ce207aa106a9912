"""Tokens per second of the rollouts stage beside the bare engine, and its memory as runs grow.

Usage: python benchmarks/rollouts.py [--engine transformers|vllm] [--rollouts 5000] [--repeats 3]
                                     [--scale 1000,5000,20000,50000] [--threads N] [--profile]

Run it with the interpreter that has the engine (.venv for transformers, .venv-vllm for vllm).
In one process with one loaded engine the following take turns, ``repeats`` times, on the same
prompts with the same seeds and lengths:

* raw: ``LLM.generate`` (vllm) or ``model.generate`` in the same batches (transformers);
* policy: `Policy.sample`, the engine behind our interface;
* stage: the whole job of the shards, from reading the problems to the receipts of Parquet files.

Only the loading of the engine is left out, on all sides. Then for each size of ``--scale`` one
process makes the problems and another runs the stage alone, as a worker does, and reports tokens
per second and its peak resident memory.
Prints the ratios last.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qstar_core import jobs, pipeline  # noqa: E402
from qstar_core.config import RunConfig  # noqa: E402
from qstar_core.policies import SampleRequest  # noqa: E402
from qstar_core.rollouts.sample import requests_for  # noqa: E402

SAMPLES = 10  # per problem
MANY = 5000  # rollouts from which on memory should stay as it is
SHARD_PROBLEMS = 500
RANGES = {"numbers": 4, "min_number": 1, "max_number": 13, "min_target": 1, "max_target": 100}
KIB_PER_MIB = 1024


def configuration(engine: str, rollouts: int, out: str) -> RunConfig:
    """A run of the reference policy with so many rollouts."""
    policy: dict[str, Any] = {"backend": engine}
    if engine == "vllm":
        policy |= {"dtype": "float32", "engine": {"enforce_eager": True}}
    tree = {
        "out": out,
        "domain": {"train_problems": rollouts // SAMPLES, "test_problems": 1, "ranges": RANGES},
        "policy": policy,
        "rollouts": {
            "samples": SAMPLES,
            "shard_problems": SHARD_PROBLEMS,
            "drift_requests": 0,  # it has a price of its own, and raw engines do not pay it
        },
    }
    return RunConfig.model_validate(tree)


def nothing(done: int, total: int, unit: str, note: str) -> None:
    """No progress display."""


def make_problems(config: RunConfig) -> None:
    """Makes the data set of problems."""
    problems = pipeline.plan(config)["problems"]
    receipts = [jobs.problems(spec, config, nothing) for spec in pipeline.shards(problems, config)]
    pipeline.publish(problems, config, receipts)


def prepare(config: RunConfig) -> tuple[pipeline.Stage, list[SampleRequest]]:
    """Makes the problems; returns the rollouts stage and all its requests."""
    make_problems(config)
    stages = pipeline.plan(config)
    known = jobs.read_problems(stages["problems"].uri, "train")
    policy = stages["rollouts"].rows["policy"]
    return stages["rollouts"], [
        ask for _, ask in requests_for(known, config.rollouts, policy, config.seed)
    ]


def in_shards(requests: list[SampleRequest]) -> list[list[SampleRequest]]:
    """The requests as the shards have them."""
    return [requests[k : k + SHARD_PROBLEMS] for k in range(0, len(requests), SHARD_PROBLEMS)]


def run_stage(stage: pipeline.Stage, config: RunConfig) -> int:
    """All shards of the stage, one after the other; returns the tokens."""
    receipts = [jobs.rollouts(spec, config, nothing) for spec in pipeline.shards(stage, config)]
    return sum(int(receipt["figures"]["tokens"]) for receipt in receipts)


def run_policy(policy: Any, requests: list[SampleRequest]) -> int:
    """`Policy.sample` of every shard; returns the tokens."""
    answers = [drawn for part in in_shards(requests) for drawn in policy.sample(part)]
    return sum(sample.tokens for drawn in answers for sample in drawn)


def raw_vllm(policy: Any, requests: list[SampleRequest]) -> int:
    """``LLM.generate`` with the same seeds, lengths and log-probabilities; returns the tokens."""
    from vllm import SamplingParams

    tokens = 0
    for part in in_shards(requests):
        prompts, parameters = [], []
        for ask in part:
            for seed in ask.seeds:
                prompts.append(ask.prompt)
                parameters.append(
                    SamplingParams(
                        temperature=ask.temperature,
                        seed=seed,
                        max_tokens=ask.max_new_tokens,
                        stop_token_ids=sorted(policy.vocabulary.eos),
                        logprobs=0,
                    )
                )
        outputs = policy.llm.generate(prompts, parameters, use_tqdm=False)
        tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
    return tokens


def raw_transformers(policy: Any, requests: list[SampleRequest]) -> int:
    """``model.generate`` in batches of the same size, prompts of one length together."""
    import torch

    tokenizer = policy.vocabulary.tokenizer
    eos = sorted(policy.vocabulary.eos)
    tokens = 0
    for part in in_shards(requests):
        rows = [tokenizer(ask.prompt)["input_ids"] for ask in part for _ in ask.seeds]
        rows.sort(key=len)
        for k in range(0, len(rows), policy.batch_size):
            batch = rows[k : k + policy.batch_size]
            width = max(map(len, batch))
            ids = torch.tensor([[eos[0]] * (width - len(row)) + row for row in batch])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
            with torch.inference_mode():
                output = policy.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    max_new_tokens=part[0].max_new_tokens,
                    eos_token_id=eos,
                    pad_token_id=eos[0],
                )
            new = output[:, width:]
            ended = torch.isin(new, torch.tensor(eos)).long()
            lengths = torch.where(ended.any(1), ended.argmax(1) + 1, new.shape[1])
            tokens += int(lengths.sum())
    return tokens


def timed(work: Callable[[], int]) -> float:
    """Tokens per second."""
    start = time.perf_counter()
    tokens = work()
    return tokens / (time.perf_counter() - start)


def side_by_side(engine: str, rollouts: int, repeats: int, folder: str) -> dict[str, float]:
    """Median tokens per second of raw, policy and stage, taking turns in this process."""
    raw = {"vllm": raw_vllm, "transformers": raw_transformers}[engine]
    config = configuration(engine, rollouts, f"{folder}/turns")
    stage, requests = prepare(config)
    policy = jobs.load_policy(config.policy)
    warm = requests[:50]
    raw(policy, warm), run_policy(policy, warm)
    speeds: dict[str, list[float]] = {"raw": [], "policy": [], "stage": []}
    for turn in range(repeats):
        again = pipeline.Stage(
            stage.name, stage.key, f"{folder}/turn-{turn}", stage.inputs, stage.rows
        )
        speeds["raw"].append(timed(lambda: raw(policy, requests)))
        speeds["policy"].append(timed(lambda: run_policy(policy, requests)))
        speeds["stage"].append(timed(lambda again=again: run_stage(again, config)))
        print("  ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items()), flush=True)
    return {name: statistics.median(values) for name, values in speeds.items()}


def profile(engine: str, folder: str) -> None:
    """Prints where the time of `Policy.sample` goes on one shard, by function."""
    config = configuration(engine, SHARD_PROBLEMS * SAMPLES, f"{folder}/profile")
    _, requests = prepare(config)
    policy = jobs.load_policy(config.policy)
    policy.sample(requests[:50])
    watch = cProfile.Profile()
    watch.runcall(policy.sample, requests)
    found = pstats.Stats(watch)
    total = found.total_tt  # type: ignore[attr-defined]
    rows = found.stats.items()  # type: ignore[attr-defined]
    print(f"\nPolicy.sample of one shard, {total:.1f} s, by function:")
    for (file, _, name), (_, calls, own, _, _) in sorted(rows, key=lambda row: -row[1][2])[:12]:
        print(f"{own / total:7.1%}  {calls:>9,} calls  {Path(file).name} {name}")


def scale(engine: str, rollouts: int, folder: str) -> None:
    """The stage alone in this process, on problems that are there; prints its figures as JSON."""
    config = configuration(engine, rollouts, folder)
    stage = pipeline.plan(config)["rollouts"]
    jobs.load_policy(config.policy)
    start = time.perf_counter()
    tokens = run_stage(stage, config)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_mib": peak}))


def grown(arguments: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """The figures of `scale` for every size; another process makes the problems before each."""
    found = []
    print(f"{'rollouts':>9}  {'tokens':>10}  {'tokens/s':>9}  {'peak memory':>12}")
    for size in [int(text) for text in arguments.scale.split(",") if text]:
        command = [sys.executable, __file__, "--engine", arguments.engine]
        command += ["--threads", str(arguments.threads), "--folder", f"{folder}/scale-{size}"]
        subprocess.run([*command, "--prepare", str(size)], check=True)
        measured = [*command, "--one", str(size)]
        result = subprocess.run(measured, stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(result.stdout.splitlines()[-1])
        found.append({"rollouts": size, **figures})
        tokens, peak = figures["tokens"], figures["peak_mib"]
        rate = tokens / figures["seconds"]
        print(f"{size:>9,}  {tokens:>10,}  {rate:>9,.0f}  {peak:>8,.0f} MiB", flush=True)
    return found


def main() -> None:
    """Prints both tables and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--rollouts", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", default="1000,5000,20000,50000")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--profile", action="store_true", help="say where the policy's time goes")
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        make_problems(configuration(arguments.engine, arguments.prepare, arguments.folder))
        return
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.one:
        scale(arguments.engine, arguments.one, arguments.folder)
        return
    with tempfile.TemporaryDirectory(prefix="qstar-rollouts-") as folder:
        sizes = grown(arguments, folder)
        print(f"tokens/s, {arguments.rollouts:,} rollouts, {arguments.threads} threads:")
        speeds = side_by_side(arguments.engine, arguments.rollouts, arguments.repeats, folder)
        if arguments.profile:
            profile(arguments.engine, folder)
    print("median: " + ", ".join(f"{name} {value:,.0f}" for name, value in speeds.items()))
    if len(sizes) > 1:
        small = next((s for s in sizes[:-1] if s["rollouts"] >= MANY), sizes[0])
        flat = sizes[-1]["peak_mib"] / small["peak_mib"]
        pair = f"{sizes[-1]['rollouts']:,} to {small['rollouts']:,}"
        print(f"peak memory, {pair} rollouts: {flat:.3f}")
    print(f"policy / raw: {speeds['policy'] / speeds['raw']:.3f}")
    print(f"stage / policy: {speeds['stage'] / speeds['policy']:.3f}")
    print(f"stage / raw: {speeds['stage'] / speeds['raw']:.3f}")


if __name__ == "__main__":
    main()
