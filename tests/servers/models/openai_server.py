"""An OpenAI-compatible server in the shapes of the real API: `python -m tests.servers.models.openai_server PORT`.

It answers in its own words what the request asks it to: choice `i` of a chat is part `i` of the last message, parts being
divided by `|`, and `call` is answered with the call of a tool; a prompt is answered alike. An embedding is made from the
text's length.
"""

import base64
import json
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

MODEL = "small-1"
CREATED = 1_700_000_000


def _error(status: int, message: str, code: str | None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def _asked(handle: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Refuse as the real API does: without the key, or for a model that is not there."""

    async def answered(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer dummy":
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        body = await request.json()
        if body.get("model") != MODEL:
            return _error(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        answer = await handle(request, body)
        return answer if answer.prepared else _packed(request, answer)

    return answered


def _usage(prompt: str, said: list[str]) -> dict[str, int]:
    asked, answered = len(prompt.split()), sum(len(text.split()) for text in said)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _parts(prompt: str, choices: int) -> list[str]:
    parts = prompt.split("|")
    return [parts[i % len(parts)].strip() for i in range(choices)]


def _message(text: str) -> dict[str, Any]:
    if text != "call":
        return {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    function = {"name": "weather", "arguments": '{"city": "Rome"}'}
    called = [{"id": "call_1", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": called, "refusal": None}


def _finish(text: str) -> str:
    return "tool_calls" if text == "call" else "stop"


async def chat(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    prompt = str(body["messages"][-1]["content"])
    said = _parts(prompt, body.get("n") or 1)
    usage = _usage(prompt, said)
    if body.get("stream"):
        return await _stream(request, _chat_events(said, body, usage))
    choices = [
        {"index": i, "message": _message(text), "logprobs": None, "finish_reason": _finish(text)}
        for i, text in enumerate(said)
    ]
    return web.json_response(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": CREATED,
            "model": MODEL,
            "choices": choices,
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": "fp_1",
        }
    )


def _chat_events(said: list[str], body: dict[str, Any], usage: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the events: of each choice its role, its words and its end, the choices taking turns."""
    more = {"usage": None} if body.get("stream_options") else {}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": MODEL}

    def event(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "choices": [choice], **more}

    if said == ["call"]:
        called = _message("call")["tool_calls"][0]
        given = called["function"]["arguments"]
        yield event(0, {"role": "assistant", "content": None})
        opening = {**called, "index": 0, "function": {**called["function"], "arguments": ""}}
        yield event(0, {"tool_calls": [opening]})
        for piece in (given[:4], given[4:]):
            yield event(0, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield event(0, {}, "tool_calls")
        return
    words = [text.split(" ") for text in said]
    yield from (event(i, {"role": "assistant", "content": ""}) for i in range(len(said)))
    for turn in range(max(len(each) for each in words)):
        for i, each in enumerate(words):
            if turn < len(each):
                yield event(i, {"content": each[turn] if turn == 0 else f" {each[turn]}"})
    yield from (event(i, {}, "stop") for i in range(len(said)))
    if more:
        yield {**head, "choices": [], "usage": usage}


async def completions(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    said = [text for prompt in prompts for text in _parts(prompt, body.get("n") or 1)]
    head = {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": MODEL}
    if body.get("stream"):
        events = [
            {**head, "choices": [{"index": i, "text": word, "logprobs": None, "finish_reason": None}]}
            for i, text in enumerate(said)
            for word in text.replace(" ", "\0 ").split("\0")
        ]
        ends = [
            {**head, "choices": [{"index": i, "text": "", "logprobs": None, "finish_reason": "stop"}]}
            for i in range(len(said))
        ]
        return await _stream(request, iter([*events, *ends]))
    choices = [
        {"text": text, "index": i, "logprobs": None, "finish_reason": "stop"} for i, text in enumerate(said)
    ]
    return web.json_response({**head, "choices": choices, "usage": _usage(" ".join(prompts), said)})


async def _stream(request: web.Request, events: Iterator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await _packed(request, response).prepare(request)
    for event in events:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        await response.write(f"data: {text}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def embeddings(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = []
    for i, text in enumerate(texts):
        vector = [len(text) / divisor for divisor in (3, 7, 11, 13)]
        packed = struct.pack("<4f", *vector)
        base64_wanted = body.get("encoding_format") == "base64"
        embedding = base64.b64encode(packed).decode() if base64_wanted else list(struct.unpack("<4f", packed))
        data.append({"object": "embedding", "index": i, "embedding": embedding})
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return web.json_response({"object": "list", "data": data, "model": MODEL, "usage": usage})


def _packed(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Compress under `/packed`; what stands before such a server does it everywhere."""
    if request.path.startswith("/packed/"):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def models(_request: web.Request) -> web.Response:
    model = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "tests"}
    return web.json_response({"object": "list", "data": [model]})


def serve(port: int) -> None:
    """Serve until the process is told to end; `/buffered` and `/packed` are other starts of the same paths."""
    app = web.Application()
    for start in ("", "/buffered", "/packed"):
        app.router.add_get(f"{start}/v1/models", models)
        app.router.add_post(f"{start}/v1/chat/completions", _asked(chat))
        app.router.add_post(f"{start}/v1/completions", _asked(completions))
        app.router.add_post(f"{start}/v1/embeddings", _asked(embeddings))
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
