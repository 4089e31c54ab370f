"""A request to an ASGI application, without a server and its client."""

import asyncio
import json
from collections.abc import Callable
from typing import Any


def get(application: Callable[..., Any], path: str) -> Any:
    """Return the document that an application answers with."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    asyncio.run(application(scope, receive, send))
    assert [message["status"] for message in sent if "status" in message] == [200]
    return json.loads(b"".join(message.get("body", b"") for message in sent))
