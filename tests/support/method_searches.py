"""For the tests of methods that search: an expert that counts its requests and may fail, and the context of a method."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.embedded import EmbeddedWorld, SimulatedExpert
from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.inference import ChatModel, ChatReply, ChatRequest
from workflow_r1.methods import MethodContext
from workflow_r1.methods.method import method_environment
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.trajectory import Question

WORLD = EmbeddedWorld(0)
HELD_OUT = WORLD.questions("evaluation", 10)
POOL = {name: OPERATORS[name] for name in OPERATORS if name != "Search"}


class Expert:
    """The simulated expert, which counts what it was asked and may fail."""

    def __init__(self, fails: Callable[[int, str], Exception | None] = lambda number, text: None) -> None:
        self.requests: list[str] = []
        self._expert = SimulatedExpert(WORLD)
        self._fails = fails

    async def __call__(self, request: ChatRequest) -> ChatReply:
        text = request.messages[0].content
        error = self._fails(len(self.requests), text)
        if error is not None:
            raise error
        self.requests.append(text)
        return await self._expert(request)


def make_context(
    directory: Path | None,
    chat: ChatModel,
    *,
    train: Sequence[Question],
    settings: Mapping[str, Any],
    told: list[str] | None = None,
    **more: Any,
) -> MethodContext:
    services = OperatorServices(chat=chat)

    def make_environment(question: Question) -> Environment:
        return QuestionEnvironment(question, config=method_environment(POOL), operators=POOL, services=services)

    return MethodContext(
        services=services,
        operators=POOL,
        make_environment=make_environment,
        settings=MethodsConfig.model_validate(settings),
        questions=HELD_OUT,
        train_questions=lambda: train,
        directory=directory,
        notify=(told if told is not None else []).append,
        **more,
    )


def search_killed(tests: Path, function: str, directory: Path, *, at: int) -> None:
    """Call ``function(directory, expert)`` of a test module in a process that is killed at a request of the expert."""
    script = directory.with_suffix(".py")
    script.write_text(
        "import importlib.util, os, signal, sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"spec = importlib.util.spec_from_file_location('the_tests', {str(tests)!r})\n"
        "tests = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(tests)\n"
        f"kill = lambda number, text: os.kill(os.getpid(), signal.SIGKILL) if number == {at} else None\n"
        f"tests.{function}(Path({str(directory)!r}), tests.Expert(kill))\n"
    )
    done = subprocess.run([sys.executable, script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
