"""What is asked in threads: who asks the same at once is answered once, and an error is told to each."""

import asyncio
import threading

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.service import Service


def service():
    return Service(None, None, None)


def test_who_asks_the_same_at_once_waits_for_one_answer_and_later_ones_get_a_new_one():
    async def ask():
        found, asked, gate = service(), [], threading.Event()

        def answer(name):
            asked.append(name)
            assert gate.wait(30)
            return object()

        one, other = "one", "other"
        waiting = [asyncio.ensure_future(found.ask_once(answer, one)) for _ in range(50)]
        waiting.append(asyncio.ensure_future(found.ask_once(answer, other)))
        waiting[0].cancel()  # a client that goes away takes nobody's answer along
        await asyncio.sleep(0.05)
        waiting[1].cancel()
        gate.set()
        answers = await asyncio.gather(*waiting[2:])
        assert sorted(asked) == ["one", "other"]
        assert len({id(each) for each in answers[:-1]}) == 1 and answers[-1] is not answers[0]
        assert await found.ask_once(answer, one) is not answers[0] and asked.count("one") == 2

    asyncio.run(ask())


def test_an_error_is_told_to_each_who_asks_and_is_not_kept():
    async def ask():
        found, errors = service(), [InputError("not now; later is accepted")]

        def answer():
            if errors:
                raise errors.pop()
            return "well"

        told = await asyncio.gather(*(found.ask_once(answer) for _ in range(5)), return_exceptions=True)
        assert [str(each) for each in told] == ["not now; later is accepted"] * 5
        assert await found.ask_once(answer) == "well"

    asyncio.run(ask())


def test_a_few_threads_alone_compute_for_the_event_loop():
    async def ask():
        found, at_once, most, guard = service(), 0, 0, threading.Lock()

        def work():
            nonlocal at_once, most
            with guard:
                at_once += 1
                most = max(most, at_once)
            threading.Event().wait(0.005)
            with guard:
                at_once -= 1

        await asyncio.gather(*(found.ask(work) for _ in range(60)))
        assert 1 <= most <= 4

    asyncio.run(ask())
