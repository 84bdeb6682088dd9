import signal
from collections.abc import Iterator

import pytest

from workflow_r1.engines.native.interrupt import interrupt, stop_on_interrupt


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("ctrl_c", "number"),
    [
        (signal.default_int_handler, signal.SIGINT),
        (signal.default_int_handler, signal.SIGTERM),
        (signal.SIG_IGN, signal.SIGTERM),
    ],
)
def test_the_first_signal_asks_and_the_second_breaks_off(ctrl_c: signal.Handlers, number: signal.Signals) -> None:
    signal.signal(signal.SIGINT, ctrl_c)
    signal.signal(signal.SIGTERM, interrupt)
    asked: list[str] = []
    with stop_on_interrupt(lambda: asked.append("stop")):
        signal.raise_signal(number)
        assert asked == ["stop"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert asked == ["stop"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (ctrl_c, interrupt)


def test_a_handler_of_the_caller_stays_where_it_is() -> None:
    asked: list[str] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: asked.append("caller"))
    with stop_on_interrupt(lambda: asked.append("stop")):
        signal.raise_signal(signal.SIGTERM)
    assert asked == ["caller"]
