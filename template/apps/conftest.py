import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def no_queue(settings: Settings) -> None:
    """Whatever .env says, no test sends to a queue that it has not made."""
    settings.SQS_QUEUE_URL = settings.SQS_INBOUND_QUEUE_URL = ""
