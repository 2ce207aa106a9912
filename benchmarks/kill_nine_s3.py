"""``kill -9`` of a worker, of the flow or of the S3 server, at random moments of a run on S3.

Usage: python benchmarks/kill_nine_s3.py [--moments 20] [--seed 0] [--policy PATH]

``qstar rollouts`` is run once undisturbed against a real S3 server on loopback. Then, for each
moment, into a prefix of its own: one of the three is killed after a random share of that time, the
server started again a second later, and the command repeated until it succeeds. At the end every
Parquet file must be equal byte for byte to the undisturbed one, and the receipt of every shard
that was finished at the kill must be the same object content: a shard made again would have other
seconds in it. Prints a table.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import killing  # noqa: E402
from qstar_core.store import open_store  # noqa: E402
from tests.s3 import S3Server  # noqa: E402

TARGETS = ("worker", "flow", "server")
MOST_RUNS = 5
CONFIG = """\
name: kill-nine-s3
domain: {{train_problems: 480, test_problems: 12}}
policy: {{path: "{policy}"}}
rollouts: {{samples: 8, shard_problems: 20}}
runtime: {{workers: 2, threads: 1}}
"""


def start(config: Path, out: str) -> subprocess.Popen[bytes]:
    """Starts ``qstar rollouts`` without a terminal."""
    return killing.qstar("rollouts", config, "--out", out, alone=True)


def kill_worker(run: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kills one of the run's workers; returns whether there was one."""
    try:
        children = psutil.Process(run.pid).children(recursive=True)
        workers = [c for c in children if "qstar_core.worker" in c.cmdline()]
        if workers:
            rng.choice(workers).kill()
    except psutil.NoSuchProcess:
        return False
    return bool(workers)


def contents(uri: str, suffix: str) -> dict[str, str]:
    """SHA-256 of the objects below a URI whose names end so."""
    store = open_store(uri)
    names = [name for name in store.names() if name.endswith(suffix)]
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in names}


def receipts(uri: str) -> dict[str, str]:
    """Those of finished rollout shards."""
    found = contents(f"{uri}/rollouts", ".json")
    return {name: digest for name, digest in found.items() if "/shards/" in name}


def disturbed(
    config: Path, out: str, target: str, moment: float, server: S3Server, rng: random.Random
) -> tuple[int, int, bool] | None:
    """One run with a kill.

    Returns:
        Shards finished at the kill, runs it took, and whether all of these were kept; None where
        there was nothing to kill, because the run, or its workers, had ended.
    """
    run = start(config, out)
    try:
        run.wait(moment)
        return None
    except subprocess.TimeoutExpired:
        if target == "worker":
            if not kill_worker(run, rng):
                run.communicate()
                return None
        elif target == "flow":
            run.kill()
        else:
            server.kill()
            time.sleep(1.0)
            server.start()
    before = receipts(out)
    runs = 1
    _, stderr = run.communicate()
    while run.returncode:
        if runs == MOST_RUNS:
            raise RuntimeError(f"{MOST_RUNS} runs and no success\n{stderr.decode()}")
        run = start(config, out)
        _, stderr = run.communicate()
        runs += 1
    after = receipts(out)
    return len(before), runs, all(after.get(name) == digest for name, digest in before.items())


def main() -> None:
    """Prints one line per moment and the number of equal runs last."""
    arguments = killing.parse(__doc__, moments=20)
    rng = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="qstar-kill-nine-s3-"))
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(policy=arguments.policy))
    server = S3Server(folder / "s3")
    server.start()
    homes = {"PREFECT_HOME": str(folder / "prefect"), "QSTAR_CACHE": str(folder / "cache")}
    os.environ.update({**server.env(), **homes})
    equal = 0
    try:
        bucket = server.bucket()
        seconds = killing.finish(start(config, f"{bucket}/whole"))
        whole = contents(f"{bucket}/whole", ".parquet")
        print(f"undisturbed: {len(whole)} Parquet files, {seconds:.1f} s")
        print(f"{'killed':>8}  {'moment':>8}  {'shards then':>11}  {'runs':>4}  kept  equal")
        moments = killing.Moments(rng, seconds, earliest=0.3)
        k = 0
        while k < arguments.moments:
            target, moment = TARGETS[k % 3], moments.draw()
            out = f"{bucket}/{k + moments.missed}"
            found = disturbed(config, out, target, moment, server, rng)
            if found is None:
                moments.miss(moment)
                continue
            k += 1
            then, runs, kept = found
            same = contents(out, ".parquet") == whole
            equal += same and kept
            words = ["yes" if good else "NO" for good in (kept, same)]
            print(
                f"{target:>8}  {moment:>6.1f} s  {then:>11}  {runs:>4}  {words[0]:<4}  {words[1]}"
            )
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"nothing was left to kill at {moments.missed} further moments")
    print(f"equal, and no finished shard made again: {equal} of {arguments.moments}")
    sys.exit(equal != arguments.moments)


if __name__ == "__main__":
    main()
