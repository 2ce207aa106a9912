"""A real object store on loopback: OpenStack Swift with its S3 API, all in one process.

Usage: LOCAL_S3_SECRET=... python tests/s3_server.py --data FOLDER --port PORT [--bucket NAME]

Prints ``ready`` once it accepts requests. The access key is ``local:admin``. What is stored lies
below FOLDER/srv and survives ``kill -9``; FOLDER/etc is written anew at every start. It needs a
file system with extended attributes. Nothing here is imported by a test: it is a program.
"""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["EVENTLET_NO_GREENDNS"] = "yes"  # its resolver cannot be imported beside trio

from swift.common import utils

utils.monkey_patch()

import eventlet
from eventlet import GreenPool, wsgi
from eventlet.semaphore import Semaphore
from swift.common import constraints
from swift.common import wsgi as swift_wsgi
from swift.common.http_protocol import SwiftHttpProtocol
from swift.common.ring import RingBuilder
from swift.obj import server as object_server

ACCOUNT, USER = "local", "admin"
SERVERS = ("account", "container", "object", "proxy")
MIDDLEWARE = "qstar_s3_middleware"

App = Callable[..., Iterable[bytes]]


class Memory:
    """What memcached is to Swift, within this process."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, *_: Any, **__: Any) -> Any:
        value, end = self.values.get(key, (None, 0.0))
        return None if end and end < time.time() else value

    def set(self, key: str, value: Any, *_: Any, **options: Any) -> None:
        seconds = options.get("time", 0)
        self.values[key] = (value, time.time() + seconds if seconds else 0.0)

    def delete(self, key: str, *_: Any, **__: Any) -> None:
        self.values.pop(key, None)

    def incr(self, key: str, delta: int = 1, **options: Any) -> int:
        value = max(int(self.get(key) or 0) + int(delta), 0)
        self.set(key, value, **options)
        return value

    def decr(self, key: str, delta: int = 1, **options: Any) -> int:
        return self.incr(key, -int(delta), **options)

    def set_multi(self, mapping: dict[str, Any], *_: Any, **options: Any) -> None:
        for key, value in mapping.items():
            self.set(key, value, **options)

    def get_multi(self, keys: Iterable[str], *_: Any, **__: Any) -> list[Any]:
        return [self.get(key) for key in keys]


def cache_factory(_: dict[str, str], **__: str) -> Callable[[App], App]:
    memory = Memory()

    def filter_(app: App) -> App:
        def serve(env: dict[str, Any], start: Any) -> Iterable[bytes]:
            env["swift.cache"] = memory
            return app(env, start)

        return serve

    return filter_


def atomic_factory(_: dict[str, str], **__: str) -> Callable[[App], App]:
    """One write to an object at a time: stock Swift's ``If-None-Match: *`` is a race."""
    locks: dict[str, list[Any]] = {}

    def filter_(app: App) -> App:
        def serve(env: dict[str, Any], start: Any) -> Iterable[bytes]:
            path = env["PATH_INFO"]
            if env["REQUEST_METHOD"] not in ("PUT", "DELETE") or path.count("/") < 4:
                return app(env, start)
            entry = locks.setdefault(path, [Semaphore(1), 0])
            entry[1] += 1
            try:
                with entry[0]:
                    head: list[Any] = []
                    body = b"".join(app(env, lambda *args: head.append(args[:2])))
                start(*head[-1])
                return [body]
            finally:
                entry[1] -= 1
                if not entry[1]:
                    locks.pop(path, None)

        return serve

    return filter_


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def filters(secret: str) -> dict[str, dict[str, str]]:
    """The middleware of the proxy server in its order, with its options."""
    return {
        "catch_errors": {},
        "gatekeeper": {},
        "memory": {"paste.filter_factory": f"{MIDDLEWARE}:cache_factory"},
        "listing_formats": {},
        "bulk": {},
        "s3api": {"location": "us-east-1", "max_upload_part_num": "10000"},
        "tempauth": {f"user_{ACCOUNT}_{USER}": f"{secret} .admin"},
        "atomic": {"paste.filter_factory": f"{MIDDLEWARE}:atomic_factory"},
        "copy": {},
        "slo": {"max_manifest_segments": "10000", "max_manifest_size": "8388608"},
        "dlo": {},
        "versioned_writes": {"allow_object_versioning": "true"},
        "symlink": {},
    }


def configure(folder: Path, port: int, secret: str) -> Path:
    """Writes rings of one device and the configuration of the four servers."""
    etc = folder / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (folder / "srv" / "d1").mkdir(parents=True, exist_ok=True)
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = local\nswift_hash_path_prefix = local\n"
        "[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    utils.set_swift_dir(str(etc))
    common = (
        f"bind_ip = 127.0.0.1\nuser = {pwd.getpwuid(os.getuid()).pw_name}\nswift_dir = {etc}\n"
        f"log_level = WARNING\nlog_address = {etc}/nolog\nconn_timeout = 5\n"
    )
    for kind in SERVERS[:3]:
        own = free_port()
        builder = RingBuilder(4, 1, 0)
        place = {"ip": "127.0.0.1", "port": own}
        place |= {"replication_ip": "127.0.0.1", "replication_port": own}
        builder.add_dev(
            {"id": 0, "region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": "", **place}
        )
        builder.rebalance()
        builder.get_ring().save(f"{etc}/{kind}.ring.gz")
        (etc / f"{kind}.conf").write_text(
            f"[DEFAULT]\nbind_port = {own}\n{common}devices = {folder}/srv\nmount_check = false\n"
            "fallocate_reserve = 0\ncontainer_update_timeout = 30\n"
            f"[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        )
    chain = filters(secret)
    text = f"[DEFAULT]\nbind_port = {port}\n{common}"
    text += f"[pipeline:main]\npipeline = {' '.join(chain)} proxy-server\n"
    text += "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
    text += "node_timeout = 60\nconn_timeout = 5\n"
    for name, options in chain.items():
        use = {} if "paste.filter_factory" in options else {"use": f"egg:swift#{name}"}
        lines = [f"{key} = {value}\n" for key, value in {**use, **options}.items()]
        text += f"[filter:{name}]\n" + "".join(lines)
    (etc / "proxy.conf").write_text(text)
    return etc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--bucket", help="made unless it is there")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    os.umask(0o077)
    module: Any = types.ModuleType(MIDDLEWARE)
    module.cache_factory, module.atomic_factory = cache_factory, atomic_factory
    sys.modules[MIDDLEWARE] = module
    folder = arguments.data.absolute()
    etc = configure(folder, arguments.port, os.environ["LOCAL_S3_SECRET"])
    pool = GreenPool(4096)
    for name in SERVERS:
        conf, _, log_name = swift_wsgi._initrp(f"{etc}/{name}.conf", f"{name}-server")
        settings = {"log_name": log_name}
        if name == "object":
            object_server.global_conf_callback(conf, settings)
        eventlet.spawn(
            wsgi.server,
            swift_wsgi.get_socket(conf),
            swift_wsgi.loadapp(f"{etc}/{name}.conf", global_conf=settings),
            utils.NullLogger(),
            custom_pool=pool,
            protocol=SwiftHttpProtocol,
            capitalize_response_headers=False,
            socket_timeout=60,
            url_length_limit=constraints.MAX_REQUEST_LINE,
        )
    eventlet.sleep(0)
    if arguments.bucket:
        make_bucket(arguments.bucket, arguments.port)
    print("ready", flush=True)
    eventlet.spawn(end_with_parent, os.getppid())
    while True:
        eventlet.sleep(3600)


def make_bucket(name: str, port: int) -> None:
    import boto3

    boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=f"{ACCOUNT}:{USER}",
        aws_secret_access_key=os.environ["LOCAL_S3_SECRET"],
    ).create_bucket(Bucket=name)


def end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        eventlet.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    main()
