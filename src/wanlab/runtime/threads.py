"""Waiting for what blocks without holding up an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(function: Callable[[], Result]) -> Result:
    """Await what *function* returns or raises, in a thread of its own. Being cancelled does not end the thread.

    Not `asyncio.to_thread`: its few threads are shared, and programs that run for long would hold up those that start
    or end them, for ever.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def tell(act: Callable[[], None]) -> None:
        def unless_cancelled() -> None:
            if not done.done():
                act()

        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody wants to know
            loop.call_soon_threadsafe(unless_cancelled)

    def work() -> None:
        try:
            result = function()
        except BaseException as error:
            problem = error  # `error` ends with this clause
            tell(lambda: done.set_exception(problem))
        else:
            tell(lambda: done.set_result(result))

    threading.Thread(target=work, daemon=True).start()
    return await done
