"""Prefect's server as a process of ours: ``python -m flows.serve PORT [--with-parent]``.

Prefect's own embedded server outlives a parent that was killed, holds 250 MB and keeps the
database open. With ``--with-parent`` this one ends at the end of its standard input, so it dies
with its parent however that died.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time

END_AFTER_S = 10.0  # of a shutdown in good order


def main() -> None:
    """Serves Prefect's API on 127.0.0.1 until a signal or the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--with-parent", action="store_true")
    arguments = parser.parse_args()
    if arguments.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()

    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=arguments.port,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=3,
    )


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_AFTER_S)
    os._exit(1)


if __name__ == "__main__":
    main()
