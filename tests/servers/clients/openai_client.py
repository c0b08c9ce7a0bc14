"""The openai client, of threads and of asyncio."""

import asyncio
from typing import Any

import openai

from tests.servers.clients.answering import answer

KEY = "dummy"
TIMEOUT_S = 30.0


def _resource(client: Any, kind: str) -> Any:
    return {
        "chat": client.chat.completions,
        "completions": client.completions,
        "embeddings": client.embeddings,
    }[kind]


def create(url: str, *, kind: str, arguments: dict[str, Any], loop: bool = False, key: str = KEY) -> Any:
    """Return the whole object that the client holds. `loop`: with the client of asyncio."""
    if not loop:
        with openai.OpenAI(base_url=url, api_key=key, timeout=TIMEOUT_S) as client:
            return _resource(client, kind).create(**arguments).model_dump(mode="json")

    async def created() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key=key, timeout=TIMEOUT_S) as client:
            return await _resource(client, kind).create(**arguments)

    return asyncio.run(created()).model_dump(mode="json")


def coding(url: str, *, kind: str, arguments: dict[str, Any]) -> Any:
    """Return how the answer was compressed on its way to the client."""
    with openai.OpenAI(base_url=url, api_key=KEY, timeout=TIMEOUT_S) as client:
        answered = _resource(client, kind).with_raw_response.create(**arguments)
        return answered.headers.get("content-encoding")


def stream(url: str, *, kind: str, arguments: dict[str, Any], loop: bool = False) -> Any:
    """Return the events, and what the choices' words are together, their last reason to end beside them."""
    events = asyncio.run(_events_in_loop(url, kind, arguments)) if loop else _events(url, kind, arguments)
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    for event in events:
        for choice in event.choices:
            said = choice.delta.content if kind == "chat" else choice.text
            texts[choice.index] = texts.get(choice.index, "") + (said or "")
            ends[choice.index] = choice.finish_reason or ends.get(choice.index, "")
    return {
        "events": [event.model_dump(mode="json") for event in events],
        "texts": [texts[i] for i in sorted(texts)],
        "ends": [ends[i] for i in sorted(ends)],
    }


def _events(url: str, kind: str, arguments: dict[str, Any]) -> list[Any]:
    with openai.OpenAI(base_url=url, api_key=KEY, timeout=TIMEOUT_S) as client:
        return list(_resource(client, kind).create(stream=True, **arguments))


async def _events_in_loop(url: str, kind: str, arguments: dict[str, Any]) -> list[Any]:
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, timeout=TIMEOUT_S) as client:
        return [event async for event in await _resource(client, kind).create(stream=True, **arguments)]


def tell(url: str) -> Any:
    """Return what the client learns about the server without a prediction."""
    with openai.OpenAI(base_url=url, api_key=KEY, timeout=TIMEOUT_S) as client:
        return [model.model_dump(mode="json") for model in client.models.list()]


if __name__ == "__main__":
    answer({"create": create, "coding": coding, "stream": stream, "tell": tell})
