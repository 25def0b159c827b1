"""The retry policy: how often an event is sent, and how long it waits in between."""

from common.backoff import backoff

# Refusals until an event is dead. The waits between them double from 10 seconds to an hour:
# about 5 hours in all, in which someone may fix the cause.
MAX_ATTEMPTS = 12
FIRST_WAIT = 10
LONGEST_WAIT = 3600

# Seconds until SQS is asked again about an event that it neither accepted nor refused.
UNKNOWN_WAIT = 5

# Seconds between attempts to reach SQS or the database again.
FIRST_PAUSE = 1
LONGEST_PAUSE = 60

# After a failed request, seconds during which web requests leave their events to the relay.
WEB_PAUSE = 30


def wait_after_refusal(attempts: int) -> float:
    """Return the seconds until the next attempt, after SQS has refused an event so many times."""
    return backoff(attempts, first=FIRST_WAIT, longest=LONGEST_WAIT)


def wait_if_unknown() -> float:
    """Return the seconds until the next attempt if it is unknown whether SQS has the event."""
    return backoff(1, first=UNKNOWN_WAIT, longest=UNKNOWN_WAIT)
