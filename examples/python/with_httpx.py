"""Ten calls at a time with httpx, none of which holds up the event loop."""

import asyncio

import httpx
from evergrant import HttpxAuth, TokenSource


async def main() -> None:
    async with TokenSource.from_env() as source:
        async with httpx.AsyncClient(auth=HttpxAuth(source), base_url=source.upstream or "") as client:
            answers = await asyncio.gather(*(client.get(f"/api/v2/users?pageNumber={page}") for page in range(10)))
            print(*(answer.status_code for answer in answers))


asyncio.run(main())
