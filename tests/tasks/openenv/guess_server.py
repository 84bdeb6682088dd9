"""Three environments of our own behind servers made with the real ``openenv`` package; run it to serve one of them.

    python guess_server.py PORT [--kind guess|errs|slow] [--sessions N] [--log FILE]

``guess``: a hidden number from 1 to 20, with hints. ``errs``: the same, and it raises at the number 13, gives no reward at 14
and a field validator that refuses 15. ``slow``: each step takes a second.
"""

import argparse
import json
import random
import time
from pathlib import Path

import uvicorn
from openenv.core.env_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

LOG: list = []


class Guess(Action):
    number: int = Field(ge=1, le=20, description="the guess")


class Hint(Observation):
    text: str = ""


class Guessing(State):
    guesses: int = 0


class GuessEnvironment(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True
    kind = "guess"
    log_file = None

    def __init__(self):
        self._state = Guessing()
        self._secret = None

    def reset(self, seed=None, episode_id=None, split=None, index=None, **arguments):
        seed = seed if seed is not None else {"train": 0, "test": 1000}.get(split, 0) + (index or 0)
        self._secret = random.Random(seed).randint(1, 20)
        self._state = Guessing(episode_id=episode_id or "none", step_count=0)
        return self._told("I think of a number from 1 to 20.", None, False)

    def step(self, action, timeout_s=None, **arguments):
        if self._secret is None:
            raise RuntimeError("step before reset")
        self._state.step_count += 1
        number = action.number
        if self.kind == "slow":
            time.sleep(1.0)
        if self.kind == "errs" and number == 13:
            raise ValueError("thirteen is unlucky")
        if number == self._secret:
            return self._told("Right.", float("nan") if self.kind == "errs" and number == 14 else 1.0, True)
        if self._state.step_count >= 6:
            return self._told("Too many guesses.", 0.0, True)
        return self._told("Higher." if number < self._secret else "Lower.", 0.0, False)

    @property
    def state(self):
        return self._state

    def list_splits(self):
        return ["train", "test"]

    def num_tasks(self, split):
        return {"train": 5, "test": 3}[split]

    def _told(self, text, reward, done):
        if self.log_file:
            with Path(self.log_file).open("a") as file:
                file.write(json.dumps({"episode": self._state.episode_id, "text": text, "reward": reward}) + "\n")
        return Hint(text=text, reward=reward, done=done)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--kind", default="guess")
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--log")
    given = parser.parse_args()
    GuessEnvironment.kind, GuessEnvironment.log_file = given.kind, given.log
    app = create_app(
        GuessEnvironment, Guess, Hint, env_name="guess", max_concurrent_envs=given.sessions, state_cls=Guessing
    )
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
