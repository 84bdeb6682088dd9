"""Games of TextArena as a task: ``task = "textarena"``, one of its games for one player in ``[tasks.textarena]``.

Read against textarena 0.7.4, whose habits decide how a game is held here:

* Its games draw from Python's global random numbers, while they are made and while they are played. Each episode keeps a
  state of them to itself, put in place around every call, so that episodes played in turn do not disturb each other.
* ``reset`` keeps the text of the last game. An episode makes its own game, by the id that ends in ``-raw``, whose
  observations are what is new since the last turn.
* Many games refuse a move with text around it, and they disagree on which of several brackets counts. The move handed over
  is what the policy wrote in brackets and nothing else; without brackets, all of its text in one pair.
* A game takes microseconds and never waits. Its methods are async all the same, since they then run on the event loop and
  need no thread.
* ``step`` after the end is not refused and changes the reward. An episode stops at the end.
* Rewards are not always 1 for a win and 0 for a loss: some games pay a share of the way, and after two refused moves in a
  row some pay a text. ``success`` is a reward of exactly 1; the game's own number stays beside it.
"""

import contextlib
import io
import logging
import math
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from workflow_r1.errors import ConfigError, MissingExtraError
from workflow_r1.installation import install_command
from workflow_r1.nearest import did_you_mean
from workflow_r1.operators import OperatorServices
from workflow_r1.tasks.task import Action, Demonstrator, Episode, Reply, Split, Task, TaskSettings
from workflow_r1.tasks.textarena_players import PLAYERS
from workflow_r1.trajectory import Question

logger = logging.getLogger(__name__)

NUM_INSTANCES: Mapping[Split, int] = {"train": 4096, "evaluation": 1000}
"""Instances of a split where nobody says how many: games can be seeded without end."""

FIRST_SEED: Mapping[Split, int] = {"train": 0, "evaluation": 1_000_000}
"""Seed of a split's first instance; the others count on from there."""

_UNFIT = {
    "Bandit": "its reward is a regret, and a win is never paid",
    "Countdown": "its rewards are wrong or texts",
    "Cryptarithm": "its rewards are wrong or texts",
    "Slitherlink": "its rewards are wrong or texts",
    "MarketEntryGame": "it is for several players",
    "PublicGoodsGame": "it is for several players",
    "QuantumTicTacToe": "it is for several players",
    "SpiteAndMalice": "it is for several players",
}
"""Games that start and still cannot be trained on, by the beginning of their ids."""

_IN_BRACKETS = re.compile(r"\[[^\[\]]*\]")

_one_game_at_a_time = threading.RLock()
"""Guards the global random numbers and the standard output while a game runs."""


class TextArenaSettings(TaskSettings):
    """Settings of ``[tasks.textarena]``."""

    game: str = "GuessTheNumber-v0"
    """Id of the game, without the endings ``-raw`` and ``-train``."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the game's constructor, e.g. ``{max_turns = 4}``."""
    reward: Literal["success", "game"] = "success"
    """``success``: 1 for a win, else 0. ``game``: the game's own reward, where some pay for a part of the way."""


class TextArena(Task):
    """One game of TextArena."""

    name: ClassVar[str] = "textarena"
    Settings: ClassVar[type[TaskSettings]] = TextArenaSettings
    actions: ClassVar[Mapping[str, str]] = {"Move": "your move as the game asks for it, with or without its brackets"}

    def __init__(self, settings: TaskSettings) -> None:
        """Take the settings, and start the game once to see that it can be played.

        Raises:
            MissingExtraError: textarena is not installed.
            ConfigError: there is no such game, or it is not one for a single player that starts without a network.
        """
        super().__init__(settings)
        assert isinstance(settings, TextArenaSettings)
        self._game = settings.game
        self._arguments = settings.arguments
        self._reward = settings.reward
        _check_playable(self._game, self._arguments)

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return one instance for each seed. Where a game has few secrets (a number from 1 to 20), seeds share them."""
        num = NUM_INSTANCES[split] if num is None else num
        return [
            Question(
                id=f"{self._game}-{split}-{index}",
                text=f"{self._game}, seed {FIRST_SEED[split] + index}",
                golden_answers=(),
                dataset=self._game,
                split=split,
                metadata={"seed": FIRST_SEED[split] + index},
            )
            for index in range(num)
        ]

    async def open(self, instance: Question, services: OperatorServices) -> "Game":
        """Return a new game of the instance's seed."""
        return Game(self._game, seed=int(instance.metadata["seed"]), arguments=self._arguments, pays=self._reward)

    def demonstrator(self, instance: Question, seed: int) -> Demonstrator:
        """Return a player who knows the rules and plays them poorly, of the games that have one.

        Raises:
            ConfigError: nobody plays this game here.
        """
        make = next((make for name, make in PLAYERS.items() if self._game.startswith(name)), None)
        if make is None:
            raise ConfigError(
                f"tasks.textarena.game: expected a game with a demonstrator ({', '.join(PLAYERS)}) to make "
                f"demonstrations, received {self._game!r}; set warmstart.demonstrations to a file of trajectories"
            )
        return make(random.Random(seed))


class Game(Episode):
    """One game, for one player."""

    def __init__(
        self, game: str, *, seed: int, arguments: Mapping[str, Any], pays: Literal["success", "game"] = "success"
    ) -> None:
        """Set up a game; it begins with :meth:`start`.

        Args:
            game: id without an ending.
            seed: all of the game's draws derive from it.
            arguments: arguments of the game's constructor.
            pays: see ``TextArenaSettings.reward``.
        """
        self._id = game
        self._seed = seed
        self._arguments = dict(arguments)
        self._pays = pays
        self._draws = _Draws()
        self._over = False

    async def start(self) -> str:
        """Return the rules and the first board."""
        return self.begin()

    def begin(self) -> str:
        """Make the game, and return what :meth:`start` returns."""
        with self._draws.in_place():
            self._environment = _textarena().make(f"{self._id}-raw", **self._arguments)
            self._environment.reset(num_players=1, seed=self._seed)
            return "\n".join(text for text, _ in self._news())

    async def act(self, action: Action) -> Reply:
        """Make a move.

        Raises:
            RuntimeError: the game is over.
        """
        if self._over:
            raise RuntimeError("expected a move of a live game, but this one is over")
        with self._draws.in_place():
            try:
                self._over, _ = self._environment.step(bare_move(action.input))
                news = self._news()
            except Exception as error:  # Some games stumble over a move that they should refuse.
                logger.warning("%s, seed %d: the game failed on the move %r: %r", self._id, self._seed, action, error)
                self._over = True
                return Reply(done=True, reward=0.0, success=False, parts={"game_failed": 1.0}, valid=False)
            valid = not any(is_refusal for _, is_refusal in news)
            if not self._over:
                return Reply(observation="\n".join(text for text, _ in news), valid=valid)
            rewards, info = self._environment.close()
        return self._end(rewards, info)

    def _news(self) -> list[tuple[str, bool]]:
        """Texts of the game since the last turn, each with True where it refuses a move; the own move is left out."""
        kinds = _textarena().ObservationType
        _, news = self._environment.get_observation()
        found: list[tuple[str, bool]] = []
        for entry in news:
            # The fields of an entry stand in another order in some games.
            kind = next((field for field in entry if isinstance(field, kinds)), None)
            text = next((field for field in entry if isinstance(field, str)), "")
            if kind is not kinds.PLAYER_ACTION:
                found.append((text.strip("\n"), kind is kinds.GAME_ADMIN))
        return found

    def _end(self, rewards: Any, info: Any) -> Reply:
        """Return the outcome of a game that is over."""
        paid = rewards[0] if rewards else None
        refused = bool(info[0].get("invalid_move"))
        if not _is_finite(paid):
            if not refused:
                raise ValueError(f"{self._id}: expected a finite reward at the end of the game, received {paid!r}")
            paid = None  # A text that says how to move: two refused moves in a row ended the game.
        success = paid == 1
        own = {} if paid is None else {"game_reward": float(paid)}
        reward = float(success) if self._pays == "success" or paid is None else float(paid)
        return Reply(
            done=True, reward=reward, success=success, parts={**own, "refused": float(refused)}, valid=not refused
        )


def bare_move(text: str) -> str:
    """Return a move as every game takes it: the brackets alone, with a blank between; without any, all text in one pair."""
    found = _IN_BRACKETS.findall(text)
    return " ".join(found) if found else f"[{text.strip()}]"


class _Draws:
    """The random numbers of one game, kept apart from everybody else's."""

    def __init__(self) -> None:
        self._state: Any = None

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put them into Python's global place, and give that back; what the game prints is dropped."""
        with _one_game_at_a_time, contextlib.redirect_stdout(io.StringIO()):
            others = random.getstate()
            if self._state is not None:
                random.setstate(self._state)
            try:
                yield
            finally:
                self._state = random.getstate()
                random.setstate(others)


def _check_playable(game: str, arguments: Mapping[str, Any]) -> None:
    textarena = _textarena()
    known = [name for name in textarena.envs.registration.ENV_REGISTRY if not name.endswith(("-raw", "-train"))]
    if game not in known:
        raise ConfigError(
            f"tasks.textarena.game: expected the id of a game, received {game!r}{did_you_mean(game, known)}"
        )
    reason = next((reason for name, reason in _UNFIT.items() if game.startswith(name)), None)
    if reason is not None:
        raise ConfigError(f"tasks.textarena.game: expected a game to learn, but of {game} it is known that {reason}")
    try:
        Game(game, seed=0, arguments=arguments).begin()
    except TypeError as error:
        raise ConfigError(
            f"tasks.textarena.arguments: expected arguments of {game}, received {dict(arguments)}: {error}"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"tasks.textarena.game: expected a game that starts for one player and without a network, but {game} "
            f"says {type(error).__name__}: {error}"
        ) from error


def _textarena() -> Any:
    try:
        import textarena
    except ImportError as error:
        raise MissingExtraError(
            f'task = "textarena" needs textarena, which is not installed; run: {install_command("textarena")}'
        ) from error
    return textarena


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
