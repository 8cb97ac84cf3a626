"""
A fake of a Power Automate workflow that posts cards to Microsoft Teams.

    async with FakeTeams() as teams:
        teams.workflow      # what a channel is given
        teams.posted        # the cards that Teams shows

It answers 202 to whatever is JSON, also when nothing is posted, and writes why into its history; made from documents.
"""

from typing import Any

from tests.fake_http import FakeService, ReceivedRequest, Reply

TEXT_RUN = {"type", "text", "weight", "size", "color", "isSubtle", "italic", "highlight", "fontType"}


class FakeTeams(FakeService):
    """One workflow, known by its signature."""

    secret = "NSbVn5B0aXMwc2lnbmF0dXJlMTIzNDU2Nzg5"

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[dict[str, Any]] = []

    @property
    def workflow(self) -> str:
        """The URL of the workflow."""
        query = f"api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={self.secret}"
        return f"{self.url}/workflows/0a1b/triggers/manual/paths/invoke?{query}"

    def respond(self, received: ReceivedRequest) -> Reply:
        """Start the workflow; what becomes of it nobody is told."""
        if received.path != self.workflow.removeprefix(self.url):
            return Reply.json(
                {"error": {"code": "DirectApiAuthorizationRequired", "message": "invalid signature"}}, 401
            )
        if len(received.body) > 28_000:
            self.mistakes.append(f"the card has {len(received.body)} bytes: Teams does not show it")
        (attachment,) = received.json["attachments"]
        card = attachment["content"]
        if (received.json["type"], attachment["contentType"], card["type"]) != (
            "message",
            "application/vnd.microsoft.card.adaptive",
            "AdaptiveCard",
        ):
            self.mistakes.append("it is no Adaptive Card")
        runs = [run for part in card["body"] for run in part.get("inlines", ())]
        self.mistakes += [f"empty text in {run}" for run in runs if not run["text"] or set(run) - TEXT_RUN]
        self.mistakes += [f"action {it}" for it in card["actions"] if not it["url"].startswith(("http://", "https://"))]
        self.posted.append(card)
        return Reply(202)

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Answer as ever; the workflow fails later."""
        return Reply(202)


def texts(card: dict[str, Any]) -> list[str]:
    """Return the paragraphs of a card that are shown as they are."""
    return [run["text"] for part in card["body"] for run in part.get("inlines", ())]
