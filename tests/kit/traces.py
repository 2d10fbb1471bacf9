"""What a server still has of something, found with nothing of ours."""

import json
import re
from base64 import b64decode
from typing import Any

import nats


async def found(url: str, word: str) -> list[str]:
    """Every message on the server that has the word in its subject, headers or body; by nats-py alone."""
    needle = re.compile(rb"(?<![\w-])" + word.encode() + rb"(?![\w-])")
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        hits: list[str] = []
        for info in await jetstream.streams_info():
            name, first, last = info.config.name, info.state.first_seq, info.state.last_seq
            if needle.search(f"{name.partition('_S_')[2]} {info.config.subjects}".encode()):
                hits.append(f"{name} itself")
            for sequence in range(first, last + 1):
                answer = await client.request(
                    f"$JS.API.STREAM.MSG.GET.{name}", json.dumps({"seq": sequence}).encode(), timeout=10
                )
                if message := json.loads(answer.data).get("message"):
                    text = b" ".join(
                        (message["subject"].encode(), b64decode(message.get("hdrs", "")), decoded(message))
                    )
                    if needle.search(text):
                        hits.append(f"{name} {sequence} {message['subject']}")
        return hits
    finally:
        await client.close()


def decoded(message: dict[str, Any]) -> bytes:
    """A body, and a blob's name in its subject."""
    body = b64decode(message.get("data", ""))
    last = message["subject"].rpartition(".")[2]
    try:
        return body + b" " + b64decode(last + "=" * (-len(last) % 4), altchars=b"-_")
    except ValueError:
        return body
