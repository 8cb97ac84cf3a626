"""Buckets of object storage that speak S3: AWS, Tigris, Cloudflare's R2, MinIO."""

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

EMPTY: Final = hashlib.sha256(b"").hexdigest()
"""What a request without a body is signed with."""


class Bucket(Section):
    """A bucket, and who may list it."""

    name: Text
    """Its name."""

    prefix: Text = ""
    """What the names of its objects begin with."""

    endpoint: Address = "https://fly.storage.tigris.dev"
    """Where the storage is: Tigris unless set; https://s3.eu-central-1.amazonaws.com for one of AWS."""

    region: Text = "auto"
    """Its region; AWS wants its own, like eu-central-1."""

    key: Text
    """The id of an access key that may list the bucket and read the sample: ${AWS_ACCESS_KEY_ID}."""

    secret: Secret
    """The access key itself: ${AWS_SECRET_ACCESS_KEY}."""

    sample: Text = ""
    """The name of an object that must answer."""

    type: Text = ""
    """What the sample's media type must begin with, like `image/`."""


class S3Object(NamedTuple):
    """What a listing tells of an object."""

    size: int
    changed: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A part of a listing, and what asks for the next one."""

    objects: tuple[S3Object, ...]
    next: str


def listing_url(bucket: Bucket, token: str) -> str:
    """Return the address of a page of a bucket's listing."""
    fields = {"list-type": "2", "max-keys": "1000", "prefix": bucket.prefix, "continuation-token": token}
    asked = urlencode(sorted((name, value) for name, value in fields.items() if value), quote_via=quote, safe="")
    return f"{bucket.endpoint.rstrip('/')}/{bucket.name}?{asked}"


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
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY, "x-amz-date": moment}
    names = ";".join(headers)
    told = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{parts.path}\n{parts.query}\n{told}\n{names}\n{EMPTY}"
    scope = f"{moment[:8]}/{bucket.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{bucket.secret.get_secret_value()}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    by = f"Credential={bucket.key}/{scope}, SignedHeaders={names}, Signature={_mac(key, text).hex()}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {by}"}


def parse_listing(body: bytes, asked: str) -> ListingPage:
    """Read a page of a listing. Raises ``CollectError`` when it is none."""
    try:
        root = _plain(body)
        if root.tag != "ListBucketResult":
            raise CollectError(f"{asked}: the answer is no listing")
        objects = tuple(
            S3Object(
                int(one.findtext("Size", "")), datetime.fromisoformat(one.findtext("LastModified", "")).timestamp()
            )
            for one in root.iter("Contents")
        )
    except (ET.ParseError, ValueError) as error:
        raise CollectError(f"{asked}: the answer is no listing: {error}") from error
    goes_on = root.findtext("IsTruncated") == "true"
    return ListingPage(objects, (root.findtext("NextContinuationToken") or "") if goes_on else "")


def error_text(status: int, body: bytes) -> str:
    """Return what an answer says that is no success."""
    try:
        code = _plain(body).findtext("Code") or ""
    except ET.ParseError:
        code = ""
    remedy = _REMEDIES.get(code, "")
    return f"answered {status}{f': {code}' if code else ''}{f': {remedy}' if remedy else ''}"


def sample_problem(bucket: Bucket, status: int, headers: Mapping[str, str]) -> str:
    """Return what is wrong with the answer for the sample; nothing where it is right."""
    if not 200 <= status < 300:
        return f"answered {status}"
    found = headers.get("content-type", "")
    return "" if found.startswith(bucket.type) else f"is {found or 'of no type'}, not {bucket.type}"


_REMEDIES: Final = {
    "AccessDenied": "the key may not list it",
    "NoSuchBucket": "there is no bucket of this name",
    "InvalidAccessKeyId": "there is no such key",
    "SignatureDoesNotMatch": "the secret is not right",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AuthorizationHeaderMalformed": "set its region",
}


def _plain(body: bytes) -> ET.Element:
    """Read XML and take the namespaces off: not everybody who speaks S3 has them."""
    root = ET.fromstring(body)  # noqa: S314  # Expat bounds how entities expand
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
