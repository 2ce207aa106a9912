"""The shard worker: ``python -m qstar_core.worker``, JSON lines in and out.

It takes ``{"id", "spec"}`` lines on standard input and answers with events on standard output:
``ready`` once, then ``progress``, and ``result`` or ``error`` for each id. It ends at the end of
its standard input, so it dies with its parent however that died. Whatever a library writes to
standard output goes to standard error. A second thread reads standard input, so the end of the
parent is noticed in the middle of a long shard too.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from qstar_core.errors import (
    KINDS,
    ModelReplaced,
    StorageUnreachable,
    TokensSpent,
    UserError,
    WorkerError,
    told_in_text,
    users_to_mend,
)
from qstar_core.store import cache

if TYPE_CHECKING:
    from qstar_core.config import PolicyConfig, RunConfig

PROGRESS_INTERVAL_S = 0.2
WITHOUT_TORCH = ("problems", "annotations", "report", "comparison_report", "rounds")
SAMPLING = ("rollouts", "pool")
TRYING = ("episodes", "adaptive")
ASKING = (*SAMPLING, *TRYING, "evaluation", "comparison", "timing")
SAMPLES = "samples"  # folder of what shards had sampled when they were stopped
WITH_POLICY = (*ASKING, "labels")
GIVEN_PATHS = (  # fields that name files or folders of the user
    ("domain", "train_file"),
    ("domain", "test_file"),
    ("domain", "prompt"),
    ("rollouts", "import_file"),
    ("policy", "path"),
    ("policy", "lora"),
    ("qvm", "init"),
    ("qvm", "path"),
    ("prm", "init"),
    ("prm", "path"),
    ("prm", "annotations"),
    ("sft", "base"),
    ("adaptive", "embedding"),
    ("adaptive", "reward_model"),
)


def main() -> None:
    """Serves shard specifications until standard input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    _quiet_libraries()
    asked: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin, asked), daemon=True).start()
    _send(out, {"event": "ready", "pid": os.getpid()})
    while True:
        job = asked.get()
        _send(out, _serve(job, out))


def _read(source: IO[str], asked: queue.Queue[dict[str, Any]]) -> None:
    for line in source:
        if line.strip():
            asked.put(json.loads(line))
    cache.leave()
    os._exit(0)  # the parent is gone: nobody waits for the result


def _quiet_libraries() -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("httpx", "httpx2"):  # a line per request
        logging.getLogger(name).setLevel(logging.WARNING)


def _send(out: IO[str], event: dict[str, Any]) -> None:
    out.write(json.dumps(event, ensure_ascii=False) + "\n")
    out.flush()


def _serve(job: dict[str, Any], out: IO[str]) -> dict[str, Any]:
    """Runs one shard; whatever goes wrong in it becomes an error event."""
    last = 0.0

    def progress(done: int, total: int, unit: str, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PROGRESS_INTERVAL_S and done < total:
            return
        last = now
        counts = {"done": done, "total": total, "unit": unit, "note": note}
        _send(out, {"event": "progress", "id": job["id"], **counts})

    try:
        return {"event": "result", "id": job["id"], "result": _run(job["spec"], progress)}
    except Exception as error:  # a worker reports every failure of a shard and lives on
        return {"event": "error", "id": job["id"], **_report(error, job["spec"])}


def _report(error: Exception, spec: dict[str, Any]) -> dict[str, str]:
    """What the parent is told: an error of the user's, or one that it may try again."""
    users: Exception | None = error
    system = error if isinstance(error, OSError) else told_in_text(error)
    if system is not None and not isinstance(error, UserError):
        users = users_to_mend(system, _inputs(spec))
    if isinstance(users, UserError) and not isinstance(users, StorageUnreachable):
        kind = next(name for name, of in KINDS.items() if isinstance(users, of))
        return {"kind": kind, **users.to_dict()}
    if isinstance(error, ModelReplaced):
        return {"kind": "replaced", "what": str(error)}
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, WorkerError):  # of one of several processes: says all of it
        return {"kind": "crash", "what": str(error)}
    return {"kind": "crash", "what": what, "traceback": traceback.format_exc()}


def _inputs(spec: dict[str, Any]) -> list[str]:
    """The files and folders that a shard reads."""
    config = spec.get("config", {})
    given = [(config.get(section) or {}).get(field) for section, field in GIVEN_PATHS]
    given += [(pool.get("policy") or {}).get("path") for pool in config.get("pools", [])]
    return [*spec.get("inputs", {}).values(), *filter(None, given)]


def _run(spec: dict[str, Any], progress: Any) -> dict[str, Any]:
    from qstar_core.config import RunConfig
    from qstar_core.environment import describe
    from qstar_core.jobs import JOBS
    from qstar_core.stage import kind_of
    from qstar_core.training import processes

    config = RunConfig.model_validate_json(json.dumps(spec["config"]))
    kind = kind_of(spec["stage"])
    if kind in processes.SECTIONS:
        processes.prepare(spec)
        number = processes.asked(kind, config)
        if number > 1 and processes.RANK not in spec:
            return processes.together(spec, kind, number, config, progress)
    _prepare_grading(spec, config)
    environment = describe()
    if _with_torch(spec, config):
        environment = {**environment, **_torch(spec, config)}

    def work(counted: dict[str, Any]) -> dict[str, Any]:
        return JOBS[kind](counted, config, progress)

    return _counted({**spec, "environment": environment}, work, kind)


def _counted(
    spec: dict[str, Any], work: Callable[[dict[str, Any]], dict[str, Any]], kind: str
) -> dict[str, Any]:
    """Does the work of a shard and counts its policy tokens: ``spent`` of the result.

    What was sampled is kept where the run's tokens are spent in the middle of it; not where the
    time that it took is the result.
    """
    from qstar_core.pipeline import ALONE
    from qstar_core.policies.allowance import Allowance
    from qstar_core.policies.journal import Journal
    from qstar_core.policies.metered import Meter
    from qstar_core.store import open_store

    if kind not in ASKING:
        return work({**spec, "meter": None})
    kept = open_store(spec["uri"]).kept(SAMPLES) / f"{spec['shard']}.jsonl"
    if kind in ALONE:
        kept.unlink(missing_ok=True)
    meter = Meter(Allowance.of(spec.get("meter")), Journal(kept))
    try:
        receipt = work({**spec, "meter": meter})
    except TokensSpent:
        meter.journal.save()
        raise
    finally:
        meter.close()
    meter.journal.remove()
    return {**receipt, "spent": meter.spent}


def _prepare_grading(spec: dict[str, Any], config: RunConfig) -> None:
    """Says what code is run in; before anything is sampled, that answers can be graded here."""
    from qstar_core.domains import DOMAINS
    from qstar_core.grading import sandbox
    from qstar_core.stage import kind_of

    sandbox.use(config.runtime.sandbox)
    check = getattr(DOMAINS[config.domain.name], "check_machine", None)
    if check is not None and kind_of(spec["stage"]) in ASKING:
        check()


def _with_torch(spec: dict[str, Any], config: RunConfig) -> bool:
    from qstar_core.stage import kind_of

    kind = kind_of(spec["stage"])
    if kind == "labels":  # only a round of fitted Q iteration has a model
        return any(kind_of(name) == "qvm" for name in spec["inputs"])
    imported = kind == "rollouts" and config.rollouts.import_file is not None
    served = kind in SAMPLING and _sampler(spec, config).without_weights
    return kind not in WITHOUT_TORCH and not served and not imported


def _sampler(spec: dict[str, Any], config: RunConfig) -> PolicyConfig:
    """The policy that samples: the run's, or that of a pool."""
    own = [pool.policy for pool in config.pools if pool.stage == spec["stage"]]
    return next((policy for policy in own if policy is not None), config.policy)


def _torch(spec: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    """Sets torch's threads; returns them and the device for the receipt."""
    import torch

    from qstar_core.policies.transformers import pick_device
    from qstar_core.stage import kind_of

    threads = spec.get("threads", 1)
    if torch.get_num_threads() != threads:  # vLLM complains of each call
        torch.set_num_threads(threads)
    kind = kind_of(spec["stage"])
    chosen = _sampler(spec, config).device if kind in WITH_POLICY else "auto"
    device = pick_device(chosen)
    name = f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
    return {"threads": torch.get_num_threads(), "device": name}


if __name__ == "__main__":
    main()
