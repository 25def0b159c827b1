import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from moto.sqs.models import sqs_backends
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from apps.event_sync.outgoing.after_commit import outage
from apps.event_sync.tests.outgoing.helpers import Network, network
from common.sqs.sqs_sync import create_client, sqs_client


@pytest.fixture
def commit(
    db: None, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> Callable[[], AbstractContextManager[object]]:
    """A context manager at whose end the ``on_commit`` hooks run."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture(autouse=True)
def no_memory_of_outages() -> None:
    outage.end()


@pytest.fixture(scope="session")
def to_sqs() -> Iterator[Network]:
    with network() as opened, pytest.MonkeyPatch.context() as patch:
        # Ignore the developer's profile and region.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_ENDPOINT_URL_SQS", opened.address)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        create_client.cache_clear()
        yield opened
    create_client.cache_clear()


@pytest.fixture
def sqs(to_sqs: Network) -> Iterator[Network]:
    """Amazon SQS without queues, and the network to it, without a fault at first."""
    sqs_backends.reset()
    to_sqs.fault = ""
    yield to_sqs
    to_sqs.fault = ""


@pytest.fixture
def queue_url(sqs: Network, settings: Settings) -> str:
    """An empty queue for the service's events."""
    url = sqs_client().create_queue(QueueName="events")["QueueUrl"]
    settings.SQS_QUEUE_URL = url
    return url


@pytest.fixture
def fifo_url(sqs: Network, settings: Settings) -> str:
    """An empty FIFO queue for the service's events."""
    attributes = {"FifoQueue": "true"}
    answer = sqs_client().create_queue(QueueName="events.fifo", Attributes=attributes)  # type: ignore[arg-type]
    settings.SQS_QUEUE_URL = answer["QueueUrl"]
    return answer["QueueUrl"]
