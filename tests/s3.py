"""The S3 server of a test session: started once, killed and restarted where a test asks for it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

ACCESS_KEY = "local:admin"


class S3Server:
    """A server process on a free port; its data outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.secret = secrets.token_hex(20)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        program = Path(__file__).with_name("s3_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), "--data", str(self.folder), "--port", str(self.port)],
            env={**os.environ, "LOCAL_S3_SECRET": self.secret},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process and self._process.stdout
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def env(self, url: str | None = None) -> dict[str, str]:
        """What a client has to have in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self, name: str | None = None) -> str:
        """The URI of a new bucket; of the one that this server has, if it is named."""
        import boto3

        name = name or f"test-{uuid.uuid4().hex[:12]}"
        client = boto3.client("s3", **self.client())
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def client(self) -> dict[str, str]:
        """What boto3 has to be told."""
        env = self.env()
        return {
            "endpoint_url": self.url,
            "region_name": env["AWS_REGION"],
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": self.secret,
        }
