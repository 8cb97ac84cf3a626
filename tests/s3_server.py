"""A server that speaks S3 and checks signatures with AWS's own library (moto)."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx2

from toban.demo.servers import free_port, wait_until_listening

REGION = "us-east-1"


@dataclass(frozen=True)
class Storage:
    """A server, and a key that may do everything in its buckets."""

    url: str
    key: str
    secret: str

    def client(self) -> Any:
        """Return AWS's client with this key."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=REGION,
        )


@contextmanager
def s3_server(folder: Path, prepare: Callable[[Any], None]) -> Iterator[Storage]:
    """Run one; ``prepare`` makes buckets by a client that may. Who shows no right signature is refused afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "1000000"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        wait_until_listening(port, process, folder / "log")
        shown = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup", "region_name": REGION}
        iam = boto3.client("iam", endpoint_url=url, **shown)
        iam.create_user(UserName="toban")
        allow = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="toban", PolicyName="read", PolicyDocument=allow)
        key = iam.create_access_key(UserName="toban")["AccessKey"]
        prepare(boto3.client("s3", endpoint_url=url, **shown))
        httpx2.post(f"{url}/moto-api/reset-auth", content="0").raise_for_status()
        yield Storage(url, key["AccessKeyId"], key["SecretAccessKey"])
    finally:
        process.kill()
        process.wait()
