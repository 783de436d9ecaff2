"""The embedding API for asyncio: the names of the other one, awaited, and pipes as streams of the loop."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.container import BOUND_S
from tests.e2e.embedding import MakeBundle

import urunc
from urunc import aio

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]


@pytest.fixture
def awaiting(embedding: urunc.Runtime, tmp_path: Path) -> aio.Runtime:
    return aio.Runtime(str(tmp_path / "root"), str(tmp_path / "config.toml"))


def test_asyncio_waits_for_many(awaiting: aio.Runtime, spt_bundle: MakeBundle) -> None:
    """Those of one container, too: the loop has one reader for a descriptor."""
    bundle = str(spt_bundle("hello"))

    async def one(number: int) -> tuple[int | None, int | None]:
        async with await awaiting.create(f"c{number}", bundle) as container:
            await container.start()
            first, second = await asyncio.gather(container.wait(), container.wait())
            return first, second

    async def all_of_them() -> list[tuple[int | None, int | None]]:
        return await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(10))), BOUND_S)

    assert [(0, 0)] * 10 == asyncio.run(all_of_them())


def test_pipes_are_streams_of_the_loop(awaiting: aio.Runtime, spt_bundle: MakeBundle) -> None:
    """Of containers of a bundle, of a template and of a pool."""
    bundle = str(spt_bundle("hello", "one"))

    async def said(container: aio.Container, *args: str) -> bytes:
        async with container:
            await container.start(args)
            assert container.stdout is not None
            text = await asyncio.wait_for(container.stdout.read(), BOUND_S)
            assert 0 == await asyncio.wait_for(container.wait(), BOUND_S)
            return text.partition(b"\n")[0]

    async def all_of_them() -> list[bytes]:
        with (
            await awaiting.template(bundle) as template,
            awaiting.blocking.pool(template, 1, stdin=urunc.PIPE, stdout=urunc.PIPE) as pool,
        ):
            return [
                await said(await awaiting.create("c", bundle, stdout=urunc.PIPE)),
                await said(await awaiting.create("c", template, stdin=urunc.PIPE, stdout=urunc.PIPE), "two"),
                await said(await aio.take(pool), "three"),
            ]

    assert [b"hello: one", b"hello: two", b"hello: three"] == asyncio.run(all_of_them())


def test_what_can_be_done_to_a_container_can_be_awaited(awaiting: aio.Runtime, spt_bundle: MakeBundle) -> None:
    bundle = str(spt_bundle("wait", "sleep"))

    async def life() -> list[str]:
        async with await awaiting.create("c", bundle) as container:
            await container.start()
            await container.pause()
            statuses = [(await container.state()).status]
            await container.update(pids_limit=77)
            assert "'limit': 77" in str((await container.stats())["pids"])
            await container.resume()
            statuses.append((await (await awaiting.get("c")).state()).status)
            types = set()
            async for event in container.events(interval_ms=10):
                types.add(event["type"])
                await container.kill(9, if_running=True)
            assert {"stats"} == types
            assert 137 == await asyncio.wait_for(container.wait(), BOUND_S)
            await container.delete()
            return statuses

    assert ["paused", "running"] == asyncio.run(life())
