"""One attempt to deliver a message, and what became of it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecipientRefusal:
    """A recipient was rejected, in the receiver's words; ``permanent``: another attempt would end the same."""

    message: str
    permanent: bool


@dataclass(slots=True)
class DeliveryAttempt:
    """The progress of one attempt: a channel records it as it goes, so that it is known however the attempt ends."""

    unanswered: bool = False
    """Whether the message was sent completely, and no response came."""

    accepted: set[str] = field(default_factory=set)
    """The recipients that get it, where a channel has several."""

    refused: dict[str, RecipientRefusal] = field(default_factory=dict)
    """The recipients that don't."""
