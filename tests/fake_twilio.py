"""
A fake of Twilio's API: messages and calls.

    async with FakeTwilio() as twilio:
        twilio.url, twilio.account, twilio.token    # what a channel is given
        twilio.messages, twilio.calls               # what was created
        twilio.becomes["+81901234567"] = ["queued", "undelivered"]

        body, headers, path = twilio.press(call, "1")   # what it posts when a key is pressed

It refuses what Twilio refuses, with its codes; made from Twilio's documentation.
"""

import base64
import hashlib
import hmac
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree as ET

from tests.fake_http import FakeService, ReceivedRequest, Reply

TWIML = {
    "Say": {"language", "voice"},
    "Pause": {"length"},
    "Gather": {"input", "numDigits", "timeout", "method", "action"},
}
"""The elements of TwiML that are sent, and their attributes."""


class FakeTwilio(FakeService):
    """An account with one number."""

    account = "AC" + "0123456789abcdef" * 2
    token = "fedcba9876543210fedcba9876543210"
    sender = "+15005550006"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, str]] = []
        self.calls: list[dict[str, str]] = []
        self.status = "active"
        self.becomes: dict[str, list[str]] = {}
        """By number, what a message or call to it becomes from one question to the next; the last stays."""
        self.unsubscribed: set[str] = set()
        self._created: dict[str, list[str]] = {}

    def respond(self, received: ReceivedRequest) -> Reply:
        """Create a message or call, or tell what became of one."""
        pair = base64.b64encode(f"{self.account}:{self.token}".encode()).decode()
        if received.headers.get("authorization") != f"Basic {pair}":
            return _error(401, 20003, "Authenticate")
        base = f"/2010-04-01/Accounts/{self.account}"
        if (received.method, received.path) == ("GET", f"{base}.json"):
            return Reply.json({"sid": self.account, "friendly_name": "Shop", "status": self.status, "type": "Full"})
        found = re.fullmatch(rf"{base}/(Messages|Calls)(?:/(\w+))?\.json", received.path)
        if not found:
            return _error(404, 20404, "The requested resource was not found")
        if received.method == "GET":
            status, *later = self._created[found[2]]
            if later:
                self._created[found[2]] = later
            return Reply.json({"sid": found[2], **_state(status)})
        form = dict(parse_qsl(received.body.decode()))
        if problem := self._problem(found[1], form):
            return _error(400, *problem)
        (self.messages if found[1] == "Messages" else self.calls).append(form)
        form["Sid"] = sid = f"{'SM' if found[1] == 'Messages' else 'CA'}{len(self._created):032x}"
        usual = ["queued", "sent"] if found[1] == "Messages" else ["ringing", "in-progress"]
        self._created[sid] = self.becomes.get(form["To"], usual)
        return Reply.json({"sid": sid, "status": "queued", "error_code": None}, 201)

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Create one that the carrier will not deliver."""
        sid = f"SM{len(self._created):032x}"
        self._created[sid] = ["undelivered"]
        return Reply.json({"sid": sid, "status": "queued"}, 201)

    def press(
        self, call: dict[str, str], digits: str, *, token: str = "", sid: str = "", **changed: str
    ) -> tuple[bytes, dict[str, str], str]:
        """Return what is posted when a key is pressed in a call: the body, its headers, and the path with its query."""
        (url,) = {it.attrib["action"] for it in ET.fromstring(call["Twiml"]).iter("Gather")}
        fields = {
            "CallSid": sid or call["Sid"],
            "AccountSid": self.account,
            "From": call["From"],
            "To": call["To"],
            "Digits": digits,
            "CallStatus": "in-progress",
            "Direction": "outbound-api",
            "ApiVersion": "2010-04-01",
        }
        signed = url + "".join(f"{name}{fields[name]}" for name in sorted(fields))
        signature = hmac.new((token or self.token).encode(), signed.encode(), hashlib.sha1).digest()
        parts = urlsplit(url)
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": base64.b64encode(signature).decode(),
        }
        return urlencode({**fields, **changed}).encode(), headers, f"{parts.path}?{parts.query}"

    def _problem(self, what: str, form: dict[str, str]) -> tuple[int, str] | None:
        known = {"To", "From", "MessagingServiceSid", *(["Body"] if what == "Messages" else ["Twiml"])}
        if unknown := set(form) - known:
            self.mistakes.append(f"unknown fields {unknown}")
        if form.get("From") != self.sender and "MessagingServiceSid" not in form:
            return 21606, "The 'From' phone number provided is not a valid message-capable Twilio phone number"
        if form["To"] in self.unsubscribed:
            return 21610, "Attempt to send to unsubscribed recipient"
        if what == "Messages" and not 1 <= len(form.get("Body", "")) <= 1_600:
            return 21617, "The concatenated message body exceeds the 1600 character limit"
        if what == "Calls":
            if len(form["Twiml"]) > 4_000:
                return 32018, "Twiml size exceeded maximum allowed value"
            twiml = ET.fromstring(form["Twiml"])
            if twiml.tag != "Response":
                return 12100, "Document parse failure"
            for element in twiml.iter():
                if wrong := set(element.attrib) - TWIML.get(element.tag, set()):
                    self.mistakes.append(f"{element.tag} has {wrong}")
                if element.tag == "Gather" and urlsplit(element.attrib["action"]).scheme not in {"http", "https"}:
                    return 13325, "Gather: Invalid action URL"
        return None


def spoken(twiml: str) -> list[str]:
    """Return what a call says."""
    return [say.text or "" for say in ET.fromstring(twiml).iter("Say")]


def _state(status: str) -> dict[str, Any]:
    return {"status": status, "error_code": 30003 if status in {"undelivered", "failed"} else None}


def _error(status: int, code: int, message: str) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply.json({"code": code, "message": message, "more_info": more, "status": status}, status)
