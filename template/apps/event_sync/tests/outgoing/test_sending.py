"""What a response of SQS means for each event, with stubbed responses."""

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.messages import MAX_BYTES, Message, pack, pack_in_order
from apps.event_sync.outgoing.sending import send_batch
from apps.event_sync.tests.outgoing.helpers import Network
from common.sqs.sqs_sync import (
    NotAcknowledgedError,
    SqSManager,
    region_of,
    sqs_client,
)

URL = "http://127.0.0.1/123456789012/events"


@pytest.fixture
def stub(sqs: Network) -> Iterator[Stubber]:
    with Stubber(sqs_client()) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def message(event_id: int, size: int = 2) -> Message:
    return Message(
        event_id=event_id, body="{}", size=size, group="g", deduplication_id=f"d{event_id}"
    )


def send(*event_ids: int, url: str = URL) -> Answer:
    return send_batch(sqs_client(), url, [message(event_id) for event_id in event_ids])


def said(*, taken: Sequence[int] = (), failed: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "Successful": [
            {"Id": str(number), "MessageId": f"m{number}", "MD5OfMessageBody": "0"}
            for number in taken
        ],
        "Failed": [{"Id": "0", "SenderFault": False, "Code": "", **entry} for entry in failed],
    }


def add(stub: Stubber, response: dict[str, Any]) -> None:
    stub.add_response("send_message_batch", response)


def refuse(stub: Stubber, code: str) -> None:
    stub.add_client_error("send_message_batch", code, http_status_code=400)


def test_a_client_does_not_wait_for_long() -> None:
    config: Any = sqs_client().meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 10)


def test_accepted_messages_are_reported_with_their_ids(stub: Stubber) -> None:
    add(stub, said(taken=[1, 2]))
    assert send(1, 2) == Answer(accepted={1: "m1", 2: "m2"})


def test_a_partly_accepted_batch_is_reported_by_message(stub: Stubber) -> None:
    ours = {"Id": "2", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "odd"}
    theirs = {"Id": "3", "SenderFault": False, "Code": "InternalError", "Message": "broken"}
    odd = {"Id": "4", "SenderFault": False, "Code": "Unheard", "Message": "of"}
    add(stub, said(taken=[1], failed=[ours, theirs, odd]))
    assert send(1, 2, 3, 4) == Answer(
        accepted={1: "m1"},
        refused={2: "InvalidMessageContents: odd", 4: "Unheard: of"},
        unknown={3: "InternalError: broken"},
        outage="InternalError: broken",
    )


# What the API reference lists for SendMessage and SendMessageBatch, as boto3 has it.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
MODEL = boto3.session.Session().client("sqs", region_name="us-east-1").meta.service_model
REFERENCE = {
    shape.name
    for operation in ("SendMessage", "SendMessageBatch")
    for shape in MODEL.operation_model(operation).error_shapes
}
# Errors of the message, or of how the batch was built.
ABOUT_THE_MESSAGE = {
    "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong",
    "EmptyBatchRequest",
    "InvalidBatchEntryId",
    "InvalidMessageContents",
    "TooManyEntriesInBatchRequest",
    "UnsupportedOperation",
}
# Their names in the query protocol, and the errors common to all services.
OTHER_NAMES = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "InternalError",
    "KMS.AccessDeniedException",
    "KMS.DisabledException",
    "KMS.InvalidStateException",
    "KMS.NotFoundException",
    "KMS.OptInRequired",
    "KMS.ThrottlingException",
    "OverLimit",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ThrottlingException",
}


@pytest.mark.parametrize("sender_fault", [True, False])
@pytest.mark.parametrize("code", sorted(REFERENCE - ABOUT_THE_MESSAGE | OTHER_NAMES))
def test_a_temporary_error_of_one_message_is_an_outage(
    code: str, stub: Stubber, *, sender_fault: bool
) -> None:
    add(stub, said(taken=[2], failed=[{"Id": "1", "SenderFault": sender_fault, "Code": code}]))
    answer = send(1, 2)
    assert answer.unknown.keys() == {1}
    assert answer.refused == {}
    assert answer.accepted.keys() == {2}
    assert code in answer.outage, "the relay backs off"


@pytest.mark.parametrize("sender_fault", [True, False])
@pytest.mark.parametrize("code", sorted(ABOUT_THE_MESSAGE | {"InvalidParameterValue", "Unheard"}))
def test_any_other_error_of_one_message_is_a_refusal(
    code: str, stub: Stubber, *, sender_fault: bool
) -> None:
    add(stub, said(failed=[{"Id": "1", "SenderFault": sender_fault, "Code": code}]))
    answer = send(1)
    assert (answer.unknown, answer.outage) == ({}, "")
    assert answer.refused.keys() == {1}


def test_the_rest_of_a_group_does_not_overtake_a_refused_message(stub: Stubber) -> None:
    """Messages 1, 2, 3 and 4 are of one group, and SQS refuses the batch because of 2."""
    refuse(stub, "InvalidMessageContents")  # 1, 2, 3, 4
    add(stub, said(taken=[1]))
    refuse(stub, "InvalidMessageContents")  # 2
    answer = send(1, 2, 3, 4, url=f"{URL}.fifo")
    assert answer.accepted.keys() == {1}
    assert answer.refused.keys() == {2}
    assert answer.unknown == dict.fromkeys((3, 4), "Waits for an earlier event of its object")
    assert answer.outage == "", "no request was sent for them"


def test_a_message_accepted_out_of_turn_is_unknown(stub: Stubber) -> None:
    broken = {"Id": "2", "Code": "InternalError"}
    add(stub, said(taken=[1, 3], failed=[broken]))
    answer = send(1, 2, 3, url=f"{URL}.fifo")
    assert answer.accepted.keys() == {1}
    assert answer.unknown == {
        2: "InternalError: ",
        3: "SQS accepted it before an earlier event of its object",
    }
    assert answer.out_of_turn == {3: "m3"}


@pytest.mark.parametrize("answer", [said(), {}, {"Successful": [{"Id": "1", "MessageId": ""}]}])
def test_a_response_without_message_ids_leaves_the_result_unknown(
    stub: Stubber, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "_validate_response", lambda *args: None)
    add(stub, answer)
    sent = send(1, 2)
    assert sent.unknown == dict.fromkeys((1, 2), "SQS responded without the id of the message")
    assert (sent.accepted, sent.refused, sent.outage) == ({}, {}, "")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("RequestThrottled", 403),
        ("AWS.SimpleQueueService.NonExistentQueue", 400),
        ("AccessDenied", 403),
        ("InvalidClientTokenId", 403),
        ("SignatureDoesNotMatch", 403),
        ("ExpiredToken", 403),
        ("KmsAccessDenied", 400),
        ("ServiceUnavailable", 503),
        ("InternalFailure", 500),
        ("500", 500),
    ],
)
def test_an_outage_refuses_no_message(stub: Stubber, code: str, status: int) -> None:
    stub.add_client_error("send_message_batch", code, "no", http_status_code=status)
    answer = send(1, 2)
    assert (answer.accepted, answer.refused) == ({}, {})
    assert answer.unknown.keys() == {1, 2}
    assert code in answer.outage


@pytest.mark.parametrize(
    "code", ["InvalidMessageContents", "AWS.SimpleQueueService.BatchRequestTooLong"]
)
def test_a_refused_message_is_found_in_its_batch(stub: Stubber, code: str) -> None:
    refuse(stub, code)  # 1, 2, 3, 4
    add(stub, said(taken=[1]))
    add(stub, said(taken=[2]))
    refuse(stub, code)  # 3
    add(stub, said(taken=[4]))
    answer = send(1, 2, 3, 4)
    assert answer.accepted.keys() == {1, 2, 4}
    assert answer.refused.keys() == {3}
    assert (answer.unknown, answer.outage) == ({}, "")


def test_the_results_of_several_requests_are_added() -> None:
    total = Answer()
    total.add(Answer(accepted={1: "m1"}, refused={2: "no"}, unknown={3: "?"}, outage="down"))
    total.add(Answer(out_of_turn={4: "m4"}))
    total.add(Answer(accepted={5: "m5"}, refused={6: "no"}, unknown={7: "?"}))
    total.add(Answer(out_of_turn={8: "m8"}))
    assert total == Answer(
        accepted={1: "m1", 5: "m5"},
        refused={2: "no", 6: "no"},
        unknown={3: "?", 7: "?"},
        out_of_turn={4: "m4", 8: "m8"},
        outage="down",
    )


def test_an_outage_ends_the_search_for_a_refused_message(stub: Stubber) -> None:
    refuse(stub, "InvalidMessageContents")  # 1, 2, 3, 4
    add(stub, said(taken=[1]))
    stub.add_client_error("send_message_batch", "ServiceUnavailable", http_status_code=503)
    answer = send(1, 2, 3, 4)
    assert answer.accepted.keys() == {1}
    assert answer.unknown == dict.fromkeys((2, 3, 4), answer.outage)
    assert answer.refused == {}
    assert "ServiceUnavailable" in answer.outage


def test_an_unexpected_error_is_an_outage(sqs: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: Any) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(sqs_client(), "send_message_batch", fail)
    assert send(1).outage == "RuntimeError"


@pytest.mark.parametrize("fifo", [True, False])
def test_only_fifo_queues_get_groups(stub: Stubber, *, fifo: bool) -> None:
    entry = {"Id": "1", "MessageBody": "{}"}
    if fifo:
        entry |= {"MessageGroupId": "g", "MessageDeduplicationId": "d1"}
    url = URL + ".fifo" * fifo
    stub.add_response("send_message_batch", said(taken=[1]), {"QueueUrl": url, "Entries": [entry]})
    send(1, url=url)


# Batches


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([1] * 10, [10]),
        ([1] * 23, [10, 10, 3]),
        ([MAX_BYTES], [1]),
        ([MAX_BYTES, 1], [1, 1]),
        ([1, MAX_BYTES - 1, 1], [2, 1]),
        ([400_000] * 5, [2, 2, 1]),
        ([MAX_BYTES, MAX_BYTES - 2, 2, 2], [1, 2, 1]),
    ],
)
def test_messages_are_packed_into_requests(sizes: list[int], batches: list[int]) -> None:
    messages = [message(number, size) for number, size in enumerate(sizes)]
    packed = list(pack(messages))
    assert [len(batch) for batch in packed] == batches
    assert [one for batch in packed for one in batch] == messages


@pytest.mark.parametrize(
    ("groups", "batches"),
    [
        ("", []),
        ("aaa", ["aaa"]),
        ("abcabc", ["aabbcc"]),
        ("aaaaaaabbbbbbb", ["aaaaaaa", "bbbbbbb"]),
        ("abcdefghijkl", ["abcdefghij", "kl"]),
        ("a" * 12 + "b", ["a" * 10, "b"]),
    ],
)
def test_messages_of_a_group_are_packed_into_one_request(groups: str, batches: list[str]) -> None:
    messages = [
        Message(event_id=number, body="{}", size=2, group=group, deduplication_id=str(number))
        for number, group in enumerate(groups)
    ]
    packed = list(pack_in_order(messages))
    assert ["".join(one.group for one in batch) for batch in packed] == batches
    for batch in packed:
        for group in groups:
            ids = [one.event_id for one in batch if one.group == group]
            assert ids == sorted(ids)


# A single message


def test_sqs_manager_sends_a_message(stub: Stubber, settings: Any) -> None:
    settings.SQS_QUEUE_URL = URL
    body = '{"a": "é"}'
    expected = {"QueueUrl": URL, "MessageBody": body}
    stub.add_response("send_message", {"MessageId": "m1"}, expected)
    assert SqSManager.send({"a": "é"}) == "m1"


def test_sqs_manager_sends_dates_and_refuses_what_is_not_json(stub: Stubber, settings: Any) -> None:
    settings.SQS_QUEUE_URL = URL
    expected = {"QueueUrl": URL, "MessageBody": '{"a": "2026-02-28"}'}
    stub.add_response("send_message", {"MessageId": "m1"}, expected)
    assert SqSManager.send({"a": datetime.date(2026, 2, 28)}) == "m1"
    with pytest.raises(ValueError, match="JSON"):
        SqSManager.send({"a": float("nan")})


def test_sqs_manager_uses_the_region_of_the_queue(settings: Any, sqs: Network) -> None:
    settings.SQS_QUEUE_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
    with Stubber(sqs_client(settings.SQS_QUEUE_URL)) as stubber:
        stubber.add_response("send_message", {"MessageId": "m1"})
        assert SqSManager.send({}) == "m1"


def test_sqs_manager_sends_a_message_to_a_fifo_queue(stub: Stubber, settings: Any) -> None:
    settings.SQS_QUEUE_URL = f"{URL}.fifo"
    expected = {"QueueUrl": ANY, "MessageBody": ANY, "MessageGroupId": "default"}
    expected["MessageDeduplicationId"] = hashlib.sha256(b'{"a": 1}').hexdigest()
    stub.add_response("send_message", {"MessageId": "m1"}, expected)
    assert SqSManager.send({"a": 1}) == "m1"


def test_sqs_manager_raises_an_error_without_a_message_id(stub: Stubber, settings: Any) -> None:
    settings.SQS_QUEUE_URL = URL
    stub.add_response("send_message", {})
    with pytest.raises(NotAcknowledgedError, match=r"^SQS responded without a message id$"):
        SqSManager.send({"a": 1})


def test_clients_are_cached(sqs: Network) -> None:
    assert sqs_client() is sqs_client()
    assert sqs_client(read_timeout=1) is not sqs_client()


# Regions


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/events", "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/events", "us-gov-west-1"),
        ("https://sqs.ap-southeast-2.api.aws/123456789012/events", "ap-southeast-2"),
        ("https://vpce-1a2b-3c.sqs.us-west-2.vpce.amazonaws.com/123456789012/e", "us-west-2"),
        ("http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/e", "eu-west-1"),
        ("https://queue.amazonaws.com/123456789012/events", "sa-east-1"),
        ("http://127.0.0.1:5000/123456789012/events", "sa-east-1"),
        ("http://events-eu-west-1.example.com/123456789012/events", "sa-east-1"),
        ("", "sa-east-1"),
    ],
)
def test_the_region_is_that_of_the_url_or_of_the_environment(
    url: str, region: str, settings: Any
) -> None:
    settings.AWS_DEFAULT_REGION = "sa-east-1"
    assert region_of(url) == region
    assert sqs_client(url).meta.region_name == region


def test_a_process_that_sends_no_event_does_not_load_boto3(production: dict[str, Any]) -> None:
    assert "boto3" not in production["modules"]
