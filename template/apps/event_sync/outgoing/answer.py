"""The results of a request to SQS. Web processes read this file, and need no boto3 for it."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Answer:
    """The results of a request, by event id."""

    accepted: dict[int, str] = field(default_factory=dict)
    """Ids of the messages in SQS."""
    refused: dict[int, str] = field(default_factory=dict)
    """Why SQS does not accept the message. Counts as an attempt."""
    unknown: dict[int, str] = field(default_factory=dict)
    """Why it is not known whether SQS has the message, or why SQS failed. Not an attempt."""
    out_of_turn: dict[int, str] = field(default_factory=dict)
    """Ids of messages that SQS accepted before an earlier one of their group."""
    outage: str = ""
    """Why no other event can be sent now."""

    def add(self, other: "Answer") -> None:
        """Add the results of another request."""
        self.accepted |= other.accepted
        self.refused |= other.refused
        self.unknown |= other.unknown
        self.out_of_turn |= other.out_of_turn
        self.outage = other.outage or self.outage
