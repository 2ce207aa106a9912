"""``kill -9`` of ``qstar run`` at random moments, then a rerun: are the rows the same?

Usage: python benchmarks/kill_nine.py [--moments 10] [--seed 0] [--policy PATH]

A small countdown run is made once undisturbed. Then, for each moment, a second run in a folder of
its own is killed after a random share of the undisturbed time, and started again until it ends.
Every Parquet file of the two folders is compared byte for byte. Prints a table.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import killing  # noqa: E402

CONFIG = """\
name: kill-nine
out: {out}
domain: {{train_problems: 60, test_problems: 12}}
policy: {{path: "{policy}"}}
rollouts: {{samples: 8, shard_problems: 6}}
qvm: {{epochs: 2.0, batch_size: 32, bf16: false}}
evaluation: {{max_policy_tokens: 150, bootstrap_samples: 200, shard_problems: 6, report_trees: 2}}
runtime: {{workers: 2, threads: 1}}
"""


def start(config: Path, out: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts ``qstar run`` without a terminal."""
    return killing.qstar("run", config, "--set", f"out={out}", env=env)


def finish(config: Path, out: Path, env: dict[str, str]) -> float:
    """Runs to the end; returns the seconds it took."""
    return killing.finish(start(config, out, env))


def kill_after(config: Path, out: Path, env: dict[str, str], seconds: float) -> bool:
    """Kills the run after some seconds with SIGKILL; returns whether it was still running."""
    process = start(config, out, env)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def parquet_files(out: Path) -> dict[str, str]:
    """The SHA-256 of every Parquet file below a folder, by its relative path."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.parquet"))
    }


def unfinished(out: Path) -> list[str]:
    """Data sets without a manifest and files that no manifest names."""
    stages = (path for path in out.glob("*/*") if path.parent.name != "logs")
    found = [str(path) for path in stages if not (path / "manifest.json").is_file()]
    return found + [str(path) for path in out.rglob(".writing")]


def main() -> None:
    """Prints one line per moment and the number of equal runs last."""
    arguments = killing.parse(__doc__, moments=10)
    folder = Path(tempfile.mkdtemp(prefix="qstar-kill-nine-"))
    env = {"PREFECT_HOME": str(folder / "prefect")}
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(out=folder / "whole", policy=arguments.policy))
    equal = 0
    try:
        seconds = finish(config, folder / "whole", env)
        seconds = min(seconds, finish(config, folder / "timing", env))
        whole = parquet_files(folder / "whole")
        print(f"undisturbed: {len(whole)} Parquet files, {seconds:.1f} s")
        print(f"{'moment':>8}  {'files at the kill':>17}  {'rerun':>7}  equal")
        moments = killing.Moments(random.Random(arguments.seed), seconds, earliest=0.1)
        for _ in range(arguments.moments):
            out = folder / "killed"
            while not kill_after(config, out, env, moment := moments.draw()):
                moments.miss(moment)
                shutil.rmtree(out)
            left = len(parquet_files(out))
            again = finish(config, out, env)
            same = parquet_files(out) == whole and not unfinished(out)
            equal += same
            print(f"{moment:>6.1f} s  {left:>17}  {again:>5.1f} s  {'yes' if same else 'NO'}")
            shutil.rmtree(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"equal after the kill: {equal} of {arguments.moments}")
    sys.exit(equal != arguments.moments)


if __name__ == "__main__":
    main()
