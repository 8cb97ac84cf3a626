"""S3-compatible object storage: AWS, Tigris, Cloudflare R2, MinIO. Addresses, signatures and answers."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from toban.core.config_types import Address, Secret, Section, Text

EMPTY_HASH: Final = hashlib.sha256(b"").hexdigest()
"""The hash of an empty body."""


class S3Bucket(Section):
    """A bucket, and the access key for it."""

    name: Text
    """Name of the bucket."""

    prefix: Text = ""
    """Prefix of the objects' names."""

    endpoint: Address = "https://fly.storage.tigris.dev"
    """Address of the storage: by default Tigris; https://s3.eu-central-1.amazonaws.com for AWS."""

    region: Text = "auto"
    """Region; for AWS the bucket's, like eu-central-1."""

    key: Text
    """Id of an access key: ${AWS_ACCESS_KEY_ID}."""

    secret: Secret
    """Secret access key: ${AWS_SECRET_ACCESS_KEY}."""


class S3Object(NamedTuple):
    """An object in a listing."""

    name: str
    size: int
    changed: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of a listing, and the token of the next one."""

    objects: tuple[S3Object, ...]
    next: str


class MultipartUpload(NamedTuple):
    """An upload that was begun, and neither completed nor aborted."""

    name: str
    id: str


def bucket_url(bucket: S3Bucket, parameters: Mapping[str, str]) -> str:
    """Return the address of a bucket with parameters; those without a value are left out."""
    return f"{_base(bucket)}?{_query({name: value for name, value in parameters.items() if value})}"


def listing_url(bucket: S3Bucket, token: str) -> str:
    """Return the address of a page of a bucket's listing."""
    return bucket_url(
        bucket, {"list-type": "2", "max-keys": "1000", "prefix": bucket.prefix, "continuation-token": token}
    )


def uploads_url(bucket: S3Bucket) -> str:
    """Return the address of the uploads of a bucket that were begun: the first thousand."""
    return f"{_base(bucket)}?{_query({'uploads': '', 'prefix': bucket.prefix})}"


def object_url(bucket: S3Bucket, name: str, parameters: Mapping[str, str] | None = None) -> str:
    """Return the address of an object."""
    query = f"?{_query(parameters)}" if parameters else ""
    return f"{_base(bucket)}/{quote(name, safe='/')}{query}"


def signed_headers(
    bucket: S3Bucket, method: str, url: str, now: datetime, body_hash: str = EMPTY_HASH
) -> dict[str, str]:
    """
    Return the headers that sign a request; ``body_hash`` is the SHA-256 of its body.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts = urlsplit(url)
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": body_hash, "x-amz-date": moment}
    names = ";".join(headers)
    canonical_headers = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{parts.path}\n{parts.query}\n{canonical_headers}\n{names}\n{body_hash}"
    scope = f"{moment[:8]}/{bucket.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{bucket.secret.get_secret_value()}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    by = f"Credential={bucket.key}/{scope}, SignedHeaders={names}, Signature={_mac(key, text).hex()}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {by}"}


def parse_listing(body: bytes) -> ListingPage:
    """Parse a page of a listing. Raises ``ValueError`` when it is none."""
    try:
        root = _root(body, "ListBucketResult")
        objects = tuple(
            S3Object(
                one.findtext("Key", ""),
                int(one.findtext("Size", "")),
                datetime.fromisoformat(one.findtext("LastModified", "")).timestamp(),
            )
            for one in root.iter("Contents")
        )
    except ValueError as error:
        raise ValueError(f"the response is no listing: {error}") from error
    goes_on = root.findtext("IsTruncated") == "true"
    return ListingPage(objects, (root.findtext("NextContinuationToken") or "") if goes_on else "")


def parse_uploads(body: bytes) -> tuple[MultipartUpload, ...]:
    """Parse a list of uploads that were begun. Raises ``ValueError`` when it is none."""
    root = _root(body, "ListMultipartUploadsResult")
    return tuple(MultipartUpload(it.findtext("Key", ""), it.findtext("UploadId", "")) for it in root.iter("Upload"))


def parse_upload_id(body: bytes) -> str:
    """Parse the answer to the begin of an upload: its id. Raises ``ValueError`` when there is none."""
    found = _root(body, "InitiateMultipartUploadResult").findtext("UploadId")
    if not found:
        raise ValueError("the response names no upload")
    return found


def completes_upload(body: bytes) -> bool:
    """Return whether an answer says that an upload is complete: its status is 200 also where it has failed."""
    try:
        return _parse_xml(body).tag == "CompleteMultipartUploadResult"
    except ET.ParseError:
        return False


def parts_body(tags: Mapping[int, str]) -> bytes:
    """Return the body that completes an upload: the ETags of its parts by their numbers."""
    root = ET.Element("CompleteMultipartUpload")
    for number, tag in sorted(tags.items()):
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "PartNumber").text = str(number)
        ET.SubElement(part, "ETag").text = tag
    return ET.tostring(root)


def error_text(status: int, body: bytes) -> str:
    """Return the error in a response, and the remedy where one is known."""
    try:
        code = _parse_xml(body).findtext("Code") or ""
    except ET.ParseError:
        code = ""
    remedy = _REMEDIES.get(code, "")
    return f"answered {status}{f': {code}' if code else ''}{f': {remedy}' if remedy else ''}"


_REMEDIES: Final = {
    "AccessDenied": "the key lacks the permission",
    "NoSuchBucket": "there is no bucket of this name",
    "InvalidAccessKeyId": "the access key does not exist",
    "SignatureDoesNotMatch": "the secret access key is wrong",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AuthorizationHeaderMalformed": "set its region",
}


def _base(bucket: S3Bucket) -> str:
    return f"{bucket.endpoint.rstrip('/')}/{bucket.name}"


def _query(parameters: Mapping[str, str]) -> str:
    """Return parameters in the order and form in which they are signed."""
    return urlencode(sorted(parameters.items()), quote_via=quote, safe="")


def _root(body: bytes, tag: str) -> ET.Element:
    try:
        root = _parse_xml(body)
    except ET.ParseError as error:
        raise ValueError(f"the response is not XML: {error}") from error
    if root.tag != tag:
        raise ValueError(f"the response is no {tag}")
    return root


def _parse_xml(body: bytes) -> ET.Element:
    """Parse XML and remove the namespaces: not every implementation of S3 has them."""
    root = ET.fromstring(body)  # noqa: S314  # Expat bounds how entities expand
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
