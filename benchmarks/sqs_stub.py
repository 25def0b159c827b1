"""A stand-in for SQS that takes the same time for each request, in a process of its own.

    python sqs_stub.py MILLISECONDS [FILE]

It takes every message, and hands out the lines of the file, ten at a time. It prints its
address once it listens, and ends with its standard input.
"""

import asyncio
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

delay = float(sys.argv[1]) / 1000
bodies = iter(Path(sys.argv[2]).read_text().splitlines() if len(sys.argv) > 2 else ())


def do(action: str, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    match action:
        case "SendMessage":
            return {"MessageId": "1", "MD5OfMessageBody": ""}
        case "SendMessageBatch" | "DeleteMessageBatch":
            taken = {"MessageId": "1", "MD5OfMessageBody": ""}
            return {"Successful": [taken | {"Id": entry["Id"]} for entry in request["Entries"]]}
        case "ReceiveMessage":
            about = {
                "MessageId": "1",
                "ReceiptHandle": "1",
                "Attributes": {"ApproximateReceiveCount": "1"},
            }
            return {"Messages": [about | {"Body": body} for body in islice(bodies, 10)]}
        case _:
            return {"Attributes": {"RedrivePolicy": "{}"}}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
            body = await reader.readexactly(int(headers["content-length"]))
            action = head.split("AmazonSQS.", 1)[1].split("\r\n", 1)[0]
            text = json.dumps(do(action, json.loads(body))).encode()
            await asyncio.sleep(delay)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(text), text)
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
