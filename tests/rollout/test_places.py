import asyncio

from workflow_r1.rollout.places import CALLS_EACH, NUM_KNOWN, Places
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn, Usage


def ended(num_calls: int) -> Trajectory:
    calls = (OperatorCall(operator="A", input="x", observation="o", valid=True, usage=Usage(llm_calls=num_calls)),)
    return Trajectory(
        id="t",
        group_id="g",
        question=Question(id="q", text="q", golden_answers=()),
        turns=(Turn(index=1, text="x", well_formed=True, calls=calls),),
        stop_reason=StopReason.ANSWERED,
    )


def most_live(places: Places, num: int) -> int:
    """Return the largest number of ``num`` trajectories that hold a place at once."""
    live, most = 0, 0

    async def one() -> None:
        nonlocal live, most
        async with places.take():
            live += 1
            most = max(most, live)
            await asyncio.sleep(0)
            live -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(num)))

    asyncio.run(all_of_them())
    return most


def test_without_a_limit_there_are_as_many_as_there_are_places() -> None:
    assert most_live(Places(5), 20) == 5
    assert most_live(Places(5, num_calls_left=lambda: 10**6), 20) == 5


def test_near_the_limit_each_holds_back_what_a_trajectory_takes() -> None:
    places = Places(50, num_calls_left=lambda: 3 * CALLS_EACH + 1)
    assert most_live(places, 20) == 3
    for _ in range(NUM_KNOWN):
        places.learn(ended(2))
    assert most_live(places, 20) == (3 * CALLS_EACH + 1) // 2


def test_one_may_always_try() -> None:
    assert most_live(Places(50, num_calls_left=lambda: 0), 3) == 1


def test_who_gives_up_while_waiting_leaves_the_place_to_the_next() -> None:
    async def run() -> str:
        places = Places(1)
        order = []

        async def one(name: str) -> None:
            async with places.take():
                order.append(name)
                await asyncio.sleep(0)

        first, second, third = (asyncio.create_task(one(name)) for name in "abc")
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, second, third, return_exceptions=True)
        await one("d")
        return "".join(order)

    assert asyncio.run(run()) == "acd"


def test_all_may_give_up_together() -> None:
    """As at Ctrl-C: who holds the place leaves it, and the turns of those who wait are cancelled already."""

    async def run() -> list[type[BaseException]]:
        places = Places(1)

        async def one() -> None:
            async with places.take():
                await asyncio.sleep(60)

        tasks = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ends = [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True) if end is not None]
        async with asyncio.timeout(1), places.take():
            return ends

    assert asyncio.run(run()) == [asyncio.CancelledError] * 5
