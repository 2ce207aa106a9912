"""Several processes of one machine that train one model together (data parallel).

Each has the whole model and computes an equal part of every batch; gradients are averaged by
torch's DistributedDataParallel, which accelerate puts around the model. Only what is ours is here:

1. The worker that is given the stage is the parent. It starts workers like itself
   (``python -m qstar_core.worker``), hands each the same stage with its rank, passes the progress
   of the first one on, and returns its receipt. They are told of each other by the environment
   variables of torchrun.
2. They end with the parent, however that ended: at the end of their standard input. When one
   fails or dies the others are killed, and one error says what happened.
3. The first one writes: checkpoints, figures, the model. The others return nothing.
4. Where they meet is a store in the parent, bound to the loopback address, so nothing of it can
   be reached from elsewhere and no port can be taken by another program meanwhile.
5. They end by being told or killed, never by taking their group down: the destructor of gloo's
   (torch 2.13) joins a thread while it holds the GIL, for which that thread may be waiting.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from qstar_core.config import RunConfig
from qstar_core.errors import UserError, WorkerDied, WorkerError
from qstar_core.worker_process import Worker

Spec = dict[str, Any]
Receipt = dict[str, Any]
Progress = Callable[[int, int, str, str], None]

RANK = "process"
"""Field of the specification of a stage that only the processes of a training have."""
COMMAND = ("-m", "qstar_core.worker")
SECTIONS = ("qvm", "prm", "sft")
"""Kinds of stages that may have several, and the sections with their number."""
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
LOOPBACK, INTERFACE = "127.0.0.1", "lo"
GRACE_S = 3.0
"""After the first failure, for the process at fault to be seen: the others fail of its loss."""
END_TIMEOUT_S = 2.0


def count() -> int:
    """How many processes train together, this one among them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def asked(section: str, config: RunConfig) -> int:
    """How many processes a section of the configuration wants."""
    return int(getattr(config, section).processes)


def prepare(spec: Spec) -> None:
    """Readies this process for its stage: as one of several, or alone."""
    for name in SHARDED:  # accelerate would cut up the weights, of which checkpoints want all
        os.environ.pop(name, None)
    if RANK not in spec:
        for name in VARIABLES:  # of whatever has started the run: they say nothing of this stage
            os.environ.pop(name, None)
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def check_devices(section: str, number: int) -> None:
    """Refuses more processes than there are GPUs, if there are any.

    Raises:
        UserError: says so.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else number
    if number > there:
        raise UserError(
            f"{section}.processes: {number} processes need a GPU each, and {there} can be used",
            safe="what was made before is kept, and nothing was trained",
            next_step=f"--set {section}.processes={there}, or name more in CUDA_VISIBLE_DEVICES",
        )


def together(
    spec: Spec, section: str, number: int, config: RunConfig, progress: Progress
) -> Receipt:
    """Has some processes make a stage together; returns the receipt of the first.

    Args:
        spec: of the stage's one shard.
        section: of the configuration that it is trained by.
        number: of processes, at least 2.
        config: of the run.
        progress: of the parent.

    Raises:
        UserError: one of them says so, or there are too few GPUs.
        WorkerError: one failed.
        WorkerDied: one of them died or hung.
    """
    check_devices(section, number)
    store, port = _meeting_place()
    threads = max(1, int(spec.get("threads", 1)) // number)
    common = {
        **os.environ,
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is the parent's
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    if INTERFACE in (name for _, name in socket.if_nameindex()):
        common.setdefault("GLOO_SOCKET_IFNAME", INTERFACE)
    workers: list[Worker] = []
    try:
        for rank in map(str, range(number)):
            own = {"RANK": rank, "LOCAL_RANK": rank}
            workers.append(Worker([sys.executable, *COMMAND], {**common, **own}))
        given = {**spec, "threads": threads}
        return _served(workers, given, section, config.runtime.stall_timeout_s, progress)
    finally:
        for worker in workers:
            worker.close_input()
        for worker in workers:
            worker.end(END_TIMEOUT_S)
        del store  # until here they meet in it


def _meeting_place() -> tuple[Any, int]:
    """A store of torch's for the processes to find each other, and its port."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    listening = socket.create_server((LOOPBACK, 0))
    port = int(listening.getsockname()[1])
    store = TCPStore(
        LOOPBACK,
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )
    return store, port


def _served(
    workers: list[Worker], spec: Spec, section: str, stall_timeout_s: float, progress: Progress
) -> Receipt:
    """The receipt of the first process; kills all where one fails."""

    def pass_on(event: dict[str, Any]) -> None:
        progress(event["done"], event["total"], event["unit"], event["note"])

    def serve(rank: int) -> Receipt:
        job = {"id": rank, "spec": {**spec, RANK: rank}}
        return workers[rank].serve(job, stall_timeout_s, pass_on if rank == 0 else None)

    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(serve, rank) for rank in range(len(workers))]
        try:
            while not futures[0].done() and not any(map(_failed, futures)):
                running = [future for future in futures if not future.done()]
                wait(running, return_when=FIRST_COMPLETED)
            if any(map(_failed, futures)):
                wait(futures, GRACE_S)
                raise _cause(futures, section)
            return futures[0].result()
        except BaseException:
            for worker in workers:  # so that the threads end
                worker.end(0.0)
            raise


def _failed(future: Future[Receipt]) -> bool:
    return future.done() and future.exception() is not None


def _cause(futures: list[Future[Receipt]], section: str) -> BaseException:
    """The error that tells most: one that the user can mend, a death, any other."""
    found: list[tuple[int, BaseException]] = []
    for rank, future in enumerate(futures):
        error = future.exception() if future.done() else None
        if error is not None:
            found.append((rank, error))
    for kind in (UserError, WorkerDied, BaseException):
        for rank, error in found:
            if not isinstance(error, kind):
                continue
            if not isinstance(error, WorkerError):
                return error
            what = f"{section}: process {rank + 1} of {len(futures)} of the training failed, the "
            return type(error)(f"{what}others were stopped: {error}")
    raise AssertionError("no process has failed")
