"""httpx, its asyncio client, and requests, as people call a server that has no client of its own."""

import asyncio
from typing import Any

import httpx
import requests

from tests.servers.clients.answering import answer


def post(url: str, *, body: Any, library: str = "httpx") -> Any:
    """Return the document that the server answers; raises the library's usual exception with the answer's text."""
    if library == "requests":
        response = requests.post(url, json=body, timeout=30)
        if not response.ok:
            raise requests.HTTPError(f"{response.status_code} {response.text}")
        return response.json()
    answered = asyncio.run(_post_in_loop(url, body)) if library == "asyncio" else httpx.post(url, json=body)
    if answered.is_error:
        raise httpx.HTTPStatusError(
            f"{answered.status_code} {answered.text}", request=answered.request, response=answered
        )
    return answered.json()


async def _post_in_loop(url: str, body: Any) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(url, json=body)


def get(url: str) -> Any:
    """Return the text of a page and its status."""
    response = httpx.get(url)
    return {"status": response.status_code, "text": response.text}


if __name__ == "__main__":
    answer({"post": post, "get": get})
