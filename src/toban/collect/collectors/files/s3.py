"""S3-compatible object storage: AWS, Tigris, Cloudflare R2, MinIO."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from toban.core.config_types import Address, Secret, Section, Text
from toban.core.errors import CollectError

EMPTY_HASH: Final = hashlib.sha256(b"").hexdigest()
"""The hash of an empty body."""


class Bucket(Section):
    """A bucket, and the access key to read it."""

    name: Text
    """Name of the bucket."""

    prefix: Text = ""
    """Prefix of the objects' names."""

    endpoint: Address = "https://fly.storage.tigris.dev"
    """Address of the storage: by default Tigris; https://s3.eu-central-1.amazonaws.com for AWS."""

    region: Text = "auto"
    """Region; for AWS the bucket's, like eu-central-1."""

    key: Text
    """Id of an access key that may list the bucket and read the sample: ${AWS_ACCESS_KEY_ID}."""

    secret: Secret
    """Secret access key: ${AWS_SECRET_ACCESS_KEY}."""

    sample: Text = ""
    """Name of an object that must be readable."""

    type: Text = ""
    """Prefix of the sample's expected media type, like `image/`."""


class S3Object(NamedTuple):
    """An object in a listing."""

    size: int
    changed: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of a listing, and the token of the next one."""

    objects: tuple[S3Object, ...]
    next: str


def listing_url(bucket: Bucket, token: str) -> str:
    """Return the address of a page of a bucket's listing."""
    parameters = {"list-type": "2", "max-keys": "1000", "prefix": bucket.prefix, "continuation-token": token}
    query = urlencode(sorted((name, value) for name, value in parameters.items() if value), quote_via=quote, safe="")
    return f"{bucket.endpoint.rstrip('/')}/{bucket.name}?{query}"


def object_url(bucket: Bucket, name: str) -> str:
    """Return the address of an object."""
    return f"{bucket.endpoint.rstrip('/')}/{bucket.name}/{quote(name, safe='/')}"


def signed_headers(bucket: Bucket, method: str, url: str, now: datetime) -> dict[str, str]:
    """
    Return the headers that sign a request without a body.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts = urlsplit(url)
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY_HASH, "x-amz-date": moment}
    names = ";".join(headers)
    canonical_headers = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{parts.path}\n{parts.query}\n{canonical_headers}\n{names}\n{EMPTY_HASH}"
    scope = f"{moment[:8]}/{bucket.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{bucket.secret.get_secret_value()}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    by = f"Credential={bucket.key}/{scope}, SignedHeaders={names}, Signature={_mac(key, text).hex()}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {by}"}


def parse_listing(body: bytes, context: str) -> ListingPage:
    """Parse a page of a listing. Raises ``CollectError`` when it is none."""
    try:
        root = _parse_xml(body)
        if root.tag != "ListBucketResult":
            raise CollectError(f"{context}: the response is no listing")
        objects = tuple(
            S3Object(
                int(one.findtext("Size", "")), datetime.fromisoformat(one.findtext("LastModified", "")).timestamp()
            )
            for one in root.iter("Contents")
        )
    except (ET.ParseError, ValueError) as error:
        raise CollectError(f"{context}: the response is no listing: {error}") from error
    goes_on = root.findtext("IsTruncated") == "true"
    return ListingPage(objects, (root.findtext("NextContinuationToken") or "") if goes_on else "")


def error_text(status: int, body: bytes) -> str:
    """Return the error in a response, and the remedy where one is known."""
    try:
        code = _parse_xml(body).findtext("Code") or ""
    except ET.ParseError:
        code = ""
    remedy = _REMEDIES.get(code, "")
    return f"answered {status}{f': {code}' if code else ''}{f': {remedy}' if remedy else ''}"


def sample_problem(bucket: Bucket, status: int, headers: Mapping[str, str]) -> str:
    """Return what is wrong with the sample; empty where nothing is."""
    if not 200 <= status < 300:
        return f"answered {status}"
    found = headers.get("content-type", "")
    return "" if found.startswith(bucket.type) else f"is {found or 'of no type'}, not {bucket.type}"


_REMEDIES: Final = {
    "AccessDenied": "the key lacks the permission to list it",
    "NoSuchBucket": "there is no bucket of this name",
    "InvalidAccessKeyId": "the access key does not exist",
    "SignatureDoesNotMatch": "the secret access key is wrong",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AuthorizationHeaderMalformed": "set its region",
}


def _parse_xml(body: bytes) -> ET.Element:
    """Parse XML and remove the namespaces: not every implementation of S3 has them."""
    root = ET.fromstring(body)  # noqa: S314  # Expat bounds how entities expand
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
