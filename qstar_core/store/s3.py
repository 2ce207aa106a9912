"""A prefix of an S3 bucket as a store.

An object appears as a whole or not at all, so files are uploaded to their final names, without a
rename. The manifest is put on the condition that its name is free (``If-None-Match: *``). That
condition only saves work; correctness does not rest on it: the run key hashes all that can change
a row, so two manifests of one key describe equal rows, and whoever finds one there goes on with
it. A server that does not know the condition is asked whether the name is free, just before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from qstar_core.errors import StorageUnreachable, UserError
from qstar_core.store import cache, uri
from qstar_core.store.local import SCRATCH
from qstar_core.store.s3_client import client, endpoint, patiently

MEGABYTE = 1024 * 1024
PART_BYTES = 16 * MEGABYTE
THREADS = 4
PAGE = 1000  # names per request of a listing, the most there can be
MULTIPART = TransferConfig(
    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=THREADS
)
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
}
"""By the end of the name, so that a browser shows a report that it is given from a bucket."""
TAKEN = ("PreconditionFailed", "412")
CONFLICT = ("ConditionalRequestConflict", "409")
NO_CONDITION = ("NotImplemented", "501")
CONDITIONAL_PUTS = 3  # against conflicts (409), before the name is looked up
CHECK_ROUNDS = 3  # some 6 s: nobody waits longer to learn of a mistyped endpoint
CHECK_PATIENCE_S = 10.0
MARK = f"{SCRATCH}/run"  # says that a run has begun here and has not yet cleared up


@dataclass(frozen=True)
class Object:
    """What a listing says of an object: its name below the root, bytes, and entity tag."""

    name: str
    size: int
    etag: str


class S3Store:
    """Names are keys below ``s3://bucket/prefix``; every write is atomic for readers."""

    poll_s = 2.0

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._bucket, self._prefix = uri.split(root)

    def put(self, name: str, source: Path) -> None:
        """Uploads a finished file, a large one in parts, and removes it here."""

        told = _content_type(name)

        def upload() -> None:
            with source.open("rb") as file:
                client().upload_fileobj(
                    file, self._bucket, self._key(name), Config=MULTIPART, ExtraArgs=told
                )

        patiently(self.path(name), upload)
        source.unlink()

    def put_new(self, name: str, content: bytes) -> bool:
        """Writes a small object unless the name is taken.

        A name that is taken by this very content counts as written: the answer to the first try
        may have been lost.
        """
        for _ in range(CONDITIONAL_PUTS):
            code = patiently(self.path(name), lambda: self._put_if_free(name, content))
            if code == "":
                return True
            if code in TAKEN:
                return self.read(name) == content
            if code in NO_CONDITION:
                break
        if self.exists(name):
            return self.read(name) == content
        self.replace(name, content)
        return True

    def _put_if_free(self, name: str, content: bytes) -> str:
        """Puts on condition; returns the code of the answer where it was not written."""
        try:
            client().put_object(
                Bucket=self._bucket,
                Key=self._key(name),
                Body=content,
                IfNoneMatch="*",
                **_content_type(name),
            )
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in (*TAKEN, *CONFLICT, *NO_CONDITION):
                return code
            raise
        return ""

    def replace(self, name: str, content: bytes) -> None:
        """Writes a small object, replacing what was there."""
        where = {"Bucket": self._bucket, "Key": self._key(name), **_content_type(name)}
        patiently(self.path(name), lambda: client().put_object(**where, Body=content))

    def read(self, name: str) -> bytes:
        """The content of an object; FileNotFoundError where there is none."""
        return patiently(self.path(name), lambda: self._get(name))

    def _get(self, name: str, **conditions: str) -> bytes:
        where = {"Bucket": self._bucket, "Key": self._key(name)}
        body: bytes = client().get_object(**where, **conditions)["Body"].read()
        return body

    def download(self, name: str, target: Path) -> None:
        """Copies an object into a new local file, a large one in parts side by side."""
        head = patiently(self.path(name), lambda: self._head(name))
        size, etag = int(head["ContentLength"]), str(head["ETag"])

        def part(start: int) -> None:
            stop = min(start + PART_BYTES, size) - 1
            span = {"Range": f"bytes={start}-{stop}", "IfMatch": etag}
            body = patiently(self.path(name), lambda: self._get(name, **span))
            if os.pwrite(descriptor, body, start) != stop - start + 1:
                raise OSError(errno.EIO, "a part was not written whole", str(target))

        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(part, range(0, size, PART_BYTES)))
        finally:
            os.close(descriptor)

    def exists(self, name: str) -> bool:
        """Whether the name is taken."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Bytes of an object, None where there is none."""
        try:
            return int(patiently(self.path(name), lambda: self._head(name))["ContentLength"])
        except FileNotFoundError:
            return None

    def _head(self, name: str) -> dict[str, Any]:
        head: dict[str, Any] = client().head_object(Bucket=self._bucket, Key=self._key(name))
        return head

    def sizes(self) -> dict[str, int]:
        """Bytes of every object below the root, by name; from one listing."""
        return {each.name: each.size for each in self.objects() if not _is_scratch(each.name)}

    def everything(self) -> dict[str, int]:
        """Bytes of every object below the root, by name; from one listing."""
        return {each.name: each.size for each in self.objects()}

    def names(self) -> list[str]:
        """All names, without the marks of unfinished runs."""
        return sorted(self.sizes())

    def objects(self, below: str = "") -> list[Object]:
        """All objects below the root (and a name), in the order of their keys."""
        prefix = self._key(below)
        return patiently(self.path(below), lambda: list(self._list(prefix)))

    def _list(self, prefix: str) -> Iterator[Object]:
        cut = len(self._key(""))
        listing = client().get_paginator("list_objects_v2")
        where = {"Bucket": self._bucket, "Prefix": prefix}
        for page in listing.paginate(**where, PaginationConfig={"PageSize": PAGE}):
            for each in page.get("Contents", ()):
                yield Object(each["Key"][cut:], int(each["Size"]), str(each["ETag"]))

    def delete(self, name: str) -> None:
        """Removes an object."""
        where = {"Bucket": self._bucket, "Key": self._key(name)}
        patiently(self.path(name), lambda: client().delete_object(**where))

    def remove(self) -> None:
        """Removes every object below the root and drops uploads that were broken off."""
        for each in self.objects():
            self.delete(each.name)
        self.end_writing()

    def scratch(self) -> Path:
        """A new local folder for files that are still being written."""
        return cache.scratch()

    def kept(self, name: str) -> Path:
        """A folder of the cache; another machine has none and begins anew."""
        found = cache.folder("kept") / self._named() / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def path(self, name: str) -> str:
        """The object's URI."""
        return f"{self.root}/{name}" if name else self.root

    def lock_path(self) -> Path:
        """A local lock file: it keeps apart the runs of this machine, not those of others."""
        return cache.folder("locks") / self._named()

    def _named(self) -> str:
        """A name of this root in the cache."""
        return hashlib.sha256(f"{endpoint()} {self.root}".encode()).hexdigest()[:32]

    def begin_writing(self) -> None:
        """Marks that a run has begun here; finds out at once whether it may write."""
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        self.replace(MARK, f"pid {os.getpid()} on {platform.node()} since {since}\n".encode())

    def unfinished(self) -> bool:
        """Whether a run has begun here and has not cleared up."""
        return bool(self.objects(f"{SCRATCH}/"))

    def end_writing(self) -> None:
        """Drops uploads that were broken off and, last, the mark of the run.

        Where the user may not list or abort uploads they stay; they are no part of any data set.
        """
        with suppress(OSError, UserError):
            patiently(self.root, self._drop_uploads)
        for left in self.objects(f"{SCRATCH}/"):
            self.delete(left.name)
        shutil.rmtree(cache.folder("kept") / self._named(), ignore_errors=True)
        self.lock_path().unlink(missing_ok=True)

    def _drop_uploads(self) -> None:
        pages = client().get_paginator("list_multipart_uploads").paginate
        for page in pages(Bucket=self._bucket, Prefix=self._key("")):
            for each in page.get("Uploads", ()):
                upload = {"Key": each["Key"], "UploadId": each["UploadId"]}
                client().abort_multipart_upload(Bucket=self._bucket, **upload)

    def check(self, field: str) -> None:
        """Makes sure that the bucket is there and may be listed.

        Args:
            field: that the URI was given in, for the error.

        Raises:
            UserError: no such bucket, or no access.
            StorageUnreachable: the endpoint has not answered for some seconds.
        """
        ask = {"Bucket": self._bucket, "Prefix": self._key(""), "MaxKeys": 1}
        try:
            listed = partial(client().list_objects_v2, **ask)
            patiently(self.root, listed, CHECK_ROUNDS, CHECK_PATIENCE_S)
        except UserError as error:
            raise UserError(f"{field}: {error.what}", next_step=error.next_step) from error
        except OSError as error:
            raise StorageUnreachable(
                f"{field}: {self.root}: {error.strerror}",
                next_step="check the network, AWS_ENDPOINT_URL and AWS_REGION, "
                "then run the same command again",
            ) from error

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


def _is_scratch(name: str) -> bool:
    return name.startswith(f"{SCRATCH}/")


def _content_type(name: str) -> dict[str, str]:
    """What S3 tells a browser of a file; nothing of those that none shows."""
    found = CONTENT_TYPES.get(Path(name).suffix)
    return {} if found is None else {"ContentType": found}
