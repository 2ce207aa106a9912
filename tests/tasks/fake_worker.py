"""A worker that does what its spec says, to test the pool with: no qstar_core, no torch."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

HELD: dict[str, str] = {}


def send(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def serve(number: int, spec: dict[str, Any]) -> None:
    do = spec["do"]
    if do == "crash":
        sys.stderr.write("the last words\n")
        sys.stderr.flush()
        os._exit(3)
    if do == "crash-once" and not os.path.exists(spec["mark"]):
        open(spec["mark"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1000)
    if do == "hang":
        time.sleep(1000)
    if do == "user":
        send(event="error", id=number, kind="user", what="row 3", safe="all", next_step="mend it")
        return
    if do == "model" and HELD.setdefault("model", spec["model"]) != spec["model"]:
        send(event="error", id=number, kind="replaced", what="it is another model")
        return
    if do == "fail":
        send(event="error", id=number, kind="crash", what="ValueError: x", traceback="Traceback")
        return
    if do == "poison":
        poison(spec)
    if do == "noise":
        sys.stdout.write("a library's greeting\n{}\n[1]\n")
        sys.stderr.write("x" * 500_000 + "\n")
    for done in range(1, spec.get("steps", 0) + 1):
        send(event="progress", id=number, done=done, total=spec["steps"], unit="u", note="n")
    time.sleep(spec.get("seconds", 0))
    result = {"shard": spec.get("shard"), "pid": os.getpid(), "env": dict(os.environ), "rows": 1}
    send(event="result", id=number, result=result)


def poison(spec: dict[str, Any]) -> None:
    """Is killed at poisonous problems, as by the kernel for its memory."""
    hints = spec["hints"]
    left = [p for p in spec["problems"] if p not in hints["quarantined"]]
    for problem in sorted(left, key=lambda p: p != hints.get("suspect")):
        if hints["careful"]:
            with open(hints["mark"], "w") as mark:
                mark.write(problem)
        if problem in spec["poisonous"]:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    send(event="ready")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin:
        job = json.loads(line)
        serve(job["id"], job["spec"])


if __name__ == "__main__":
    main()
