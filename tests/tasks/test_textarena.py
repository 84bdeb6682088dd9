"""Games of TextArena: kept apart, told in news, ended once, and paid in numbers."""

import asyncio
import random

import pytest

pytest.importorskip("textarena")

from workflow_r1.errors import ConfigError
from workflow_r1.tasks import Action
from workflow_r1.tasks.textarena import Game, TextArena, TextArenaSettings, bare_move

GUESS = "GuessTheNumber-v0"


def task(game: str = GUESS, **settings) -> TextArena:
    return TextArena(TextArenaSettings(game=game, **settings))


def play(game: Game, *moves: str):
    return [asyncio.run(game.act(Action("Move", move))) for move in moves]


def guess_all(game: Game):
    """Guess from 1 on until the game ends."""
    for number in range(1, 21):
        reply = asyncio.run(game.act(Action("Move", str(number))))
        if reply.done:
            return reply
    raise AssertionError("the game did not end")


def test_a_move_is_the_brackets_alone_or_all_the_text_in_a_pair():
    assert bare_move("5") == "[5]"
    assert bare_move(" A C ") == "[A C]"
    assert bare_move("I take [accept], since it is high") == "[accept]"
    assert bare_move("[A C] then [B C]") == "[A C] [B C]"
    assert bare_move("5]") == "[5]]"


def test_a_game_tells_its_rules_once_and_then_only_what_is_new():
    game = Game(GUESS, seed=3, arguments={})
    assert "between 1 and 20" in asyncio.run(game.start())
    high, low = play(game, "20", "1")
    assert high.observation == "The target number is lower."
    assert low.observation == "The target number is higher."
    assert high.valid and low.valid


def test_a_refused_move_is_told_and_the_second_in_a_row_ends_the_game_with_its_partial_reward():
    game = Game(GUESS, seed=3, arguments={}, pays="game")
    asyncio.run(game.start())
    play(game, "1")
    first, second = play(game, "one", "two")
    assert not first.valid and "invalid move" in first.observation and not first.done
    assert second.done and not second.valid and second.success is False
    assert second.parts["refused"] == 1 and second.parts["game_reward"] == second.reward < 1


@pytest.mark.parametrize(("pays", "lost"), [("success", 0.0), ("game", 0.9474)])
def test_success_is_a_reward_of_one_and_a_near_miss_is_none(pays, lost):
    near = Game(GUESS, seed=3, arguments={"max_turns": 1}, pays=pays)
    asyncio.run(near.start())
    secret = near._environment.game_number
    reply = play(near, str(secret - 1), str(secret + 1))[-1]
    assert reply.done and reply.success is False
    assert reply.reward == pytest.approx(lost, abs=1e-4)
    assert reply.parts["game_reward"] == pytest.approx(0.9474, abs=1e-4)
    won = Game(GUESS, seed=3, arguments={"max_turns": 1}, pays=pays)
    asyncio.run(won.start())
    reply = play(won, str(secret))[-1]
    assert (reply.done, reply.success, reply.reward) == (True, True, 1.0)


def test_a_move_after_the_end_is_refused_here_though_the_library_would_play_on():
    game = Game(GUESS, seed=3, arguments={"max_turns": 1})
    asyncio.run(game.start())
    guess_all(game)
    with pytest.raises(RuntimeError, match="over"):
        play(game, "7")


def test_games_draw_apart_from_each_other_and_from_everybody_else():
    def cards(games):
        shown = [[asyncio.run(game.start())] for game in games]
        for _ in range(4):
            for game, seen in zip(games, shown, strict=True):
                seen += [reply.observation for reply in play(game, "Hit")]
        return shown

    random.seed(11)
    expected = [random.random() for _ in range(3)]
    alone = cards([Game("Blackjack-v0", seed=5, arguments={})])[0]
    random.seed(11)
    together = cards([Game("Blackjack-v0", seed=seed, arguments={}) for seed in (5, 6, 5)])
    assert together[0] == together[2] == alone != together[1]
    assert [random.random() for _ in range(3)] == expected


def test_what_a_game_prints_is_dropped(capsys):
    asyncio.run(Game("RushHour-v0", seed=1, arguments={}).start())
    assert capsys.readouterr().out == ""


def test_a_reward_that_is_a_text_is_none_of_the_games_numbers():
    game = Game("ThreeCardMonte-v0", seed=1, arguments={}, pays="game")
    asyncio.run(game.start())
    reply = play(game, "nonsense", "nonsense")[-1]
    assert (reply.done, reply.success, reply.reward) == (True, False, 0.0)
    assert reply.parts == {"refused": 1.0}


def test_a_game_that_breaks_on_a_move_is_lost_and_said(caplog, monkeypatch):
    game = Game(GUESS, seed=3, arguments={})
    asyncio.run(game.start())

    def stumble(move):
        raise UnboundLocalError("no guess")

    monkeypatch.setattr(game._environment, "step", stumble)
    (reply,) = play(game, "a word")
    assert (reply.done, reply.success, reply.reward, reply.valid) == (True, False, 0.0, False)
    assert reply.parts == {"game_failed": 1.0}
    assert "GuessTheNumber-v0, seed 3" in caplog.text and "no guess" in caplog.text


def test_instances_of_the_splits_share_no_seed_and_keep_their_order():
    one = task()
    train, evaluation = one.instances("train", None), one.instances("evaluation", 7)
    assert len({each.id for each in [*train, *evaluation]}) == len(train) + 7
    assert not {each.metadata["seed"] for each in train} & {each.metadata["seed"] for each in evaluation}
    assert task().instances("train", 5) == train[:5]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"game": "GuesTheNumber-v0"}, "did you mean 'GuessTheNumber-v0'"),
        ({"game": "Bandit-v0"}, "regret"),
        ({"game": "Chess-v0-long"}, "Chess-v0-long"),
        ({"game": "TicTacToe-v0"}, "one player"),
        ({"game": GUESS, "arguments": {"turns": 3}}, "tasks.textarena.arguments"),
    ],
)
def test_a_game_that_cannot_be_learnt_is_refused_before_the_run(settings, told):
    with pytest.raises(ConfigError, match=r"tasks\.textarena") as raised:
        task(**settings)
    assert told in str(raised.value)


def test_a_game_without_a_demonstrator_says_what_else_helps():
    one = task("Blackjack-v0")
    with pytest.raises(ConfigError, match=r"warmstart\.demonstrations"):
        one.demonstrator(one.instances("train", 1)[0], seed=0)
