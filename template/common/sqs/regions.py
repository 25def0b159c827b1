"""The AWS region of a queue. Apart from ``sqs_sync``, because web processes need no boto3 for it."""

import re
from urllib.parse import urlsplit

from django.conf import settings

_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")


def region_for(queue_url: str) -> str:
    """Return the region in the environment, else that in the queue's URL, else the default."""
    return settings.AWS_REGION or region_in(queue_url) or settings.AWS_DEFAULT_REGION


def region_in(queue_url: str) -> str:
    """Return the region in the URL of an Amazon queue, or "".

    ``sqs.REGION.amazonaws.com``, also for FIPS, dual-stack, VPC endpoints and other partitions,
    and ``REGION.queue.amazonaws.com`` (the legacy form).
    https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
    """
    labels = (urlsplit(queue_url).hostname or "").split(".")
    for before, label, after in zip(["", *labels], labels, [*labels[1:], ""], strict=False):
        if _REGION.fullmatch(label) and (before in {"sqs", "sqs-fips"} or after == "queue"):
            return label
    return ""


def region_mismatch(queue_url: str) -> str:
    """Return a message if the environment and the queue's URL have different regions, or ""."""
    region = region_in(queue_url)
    if region in {"", region_for(queue_url)}:
        return ""
    return (
        f"The queue {queue_url} is in {region}, but AWS_DEFAULT_REGION (or AWS_REGION) is"
        f" {settings.AWS_REGION}."
    )
