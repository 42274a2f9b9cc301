"""Labs and event loops."""

from __future__ import annotations

import asyncio
import signal
import uuid
from pathlib import Path

import pytest

from tests.support.labs import PAIR, eventually, marked, pair, run_program, running
from wanlab import Lab
from wanlab.runtime.directory import labs


async def test_programs_run_without_holding_up_the_loop() -> None:
    async with Lab(pair()) as lab:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        done = await asyncio.gather(
            *(lab["left"].run_async(["sh", "-c", f"sleep 0.3; echo {n}"], capture_output=True) for n in range(20))
        )
        assert [int(d.stdout) for d in done] == list(range(20))
        assert ticks > 5
        ticking.cancel()


async def test_a_cancelled_run_kills_its_program() -> None:
    marker = f"600.{uuid.uuid4().int}"
    async with Lab(pair()) as lab:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lab["left"].run_async(["sleep", marker]), 0.3)
        await asyncio.to_thread(eventually, lambda: not marked(marker))


async def test_many_long_programs_hold_up_neither_each_other_nor_the_end_of_the_lab() -> None:
    async with Lab(pair()) as lab:
        tasks = [asyncio.create_task(lab["left"].run_async(["sleep", "600"])) for _ in range(50)]
        done = await asyncio.wait_for(lab["right"].run_async(["echo", "a"], capture_output=True, check=True), 20)
        assert done.stdout == b"a\n"
    assert [(await task).returncode for task in tasks] == [-signal.SIGKILL] * 50


def test_a_loop_ends_though_a_program_still_runs() -> None:
    run_program(PAIR + """
import asyncio
with Lab(pair()) as lab:
    async def main():
        task = asyncio.create_task(lab["left"].run_async(["sleep", "600"]))
        await asyncio.sleep(0.1)
    asyncio.run(main())
""", timeout=20)  # fmt: skip


async def test_a_lab_whose_coming_up_is_cancelled_is_taken_down(runtime: Path) -> None:
    lab = Lab(pair(), name="cancelled")
    task = asyncio.create_task(lab.__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert labs(runtime) == []


async def test_errors_arrive_where_they_are_awaited() -> None:
    async with Lab(pair()) as lab:
        with pytest.raises(OSError, match="no-such-program"):
            await lab["left"].run_async(["no-such-program"])


async def test_the_end_of_a_process_can_be_watched_by_the_loop() -> None:
    loop = asyncio.get_running_loop()
    async with Lab(pair()) as lab:
        ended = asyncio.Event()
        process = lab["left"].popen(["sh", "-c", "exit 4"])
        loop.add_reader(process.fileno(), ended.set)
        await asyncio.wait_for(ended.wait(), 10)
        loop.remove_reader(process.fileno())
        assert process.poll() == 4


async def test_an_exception_in_an_async_with_takes_the_lab_down() -> None:
    pids = []

    async def fail() -> None:
        async with Lab(pair()) as lab:
            pids.append(lab.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert pids
    assert pids[0] not in running()
