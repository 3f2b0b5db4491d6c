"""A session of aiohttp."""

import asyncio

import aiohttp
import evergrant.aiohttp
from evergrant import TokenSource


async def main() -> None:
    async with TokenSource.from_env() as source:
        async with aiohttp.ClientSession(source.upstream, middlewares=[evergrant.aiohttp.middleware(source)]) as session:
            async with session.get("/api/v2/organizations/me") as response:
                print(response.status)


asyncio.run(main())
