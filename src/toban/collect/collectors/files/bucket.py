"""The bucket of the collector `files`, with an object that must be readable."""

from collections.abc import Mapping

from toban.core.config_types import Text
from toban.core.s3 import S3Bucket


class Bucket(S3Bucket):
    """A bucket, and an access key that may list it and read the sample."""

    sample: Text = ""
    """Name of an object that must be readable."""

    type: Text = ""
    """Prefix of the sample's expected media type, like `image/`."""


def sample_problem(bucket: Bucket, status: int, headers: Mapping[str, str]) -> str:
    """Return what is wrong with the sample; empty where nothing is."""
    if not 200 <= status < 300:
        return f"answered {status}"
    found = headers.get("content-type", "")
    return "" if found.startswith(bucket.type) else f"is {found or 'of no type'}, not {bucket.type}"
