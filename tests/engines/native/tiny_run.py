"""A whole training run in seconds: a byte-level Llama that half knows the answer, and one operator.

As a script it trains in a process of its own and kills itself without warning after a step:
``python tiny_run.py MODEL_DIRECTORY RUN_DIRECTORY STEP [TRAINING]``, with settings of ``training`` as JSON.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.run import Trainer
from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.operators import OperatorResult, OperatorServices, operator
from workflow_r1.recording.events import StepFinished
from workflow_r1.trajectory import Message, Question, StopReason, Trajectory, Turn


@operator(purpose="Repeat the input.")
async def Echo(text: str, *, services: OperatorServices) -> OperatorResult:
    """The only operator."""
    return OperatorResult(observation=text[:4], valid=True)


QUESTIONS = [
    Question(
        id=f"q{index}", text=f"{letter}?", golden_answers=("x",), metadata={"kind": "odd" if index % 2 else "even"}
    )
    for index, letter in enumerate("abcdefgh")
]


def tiny_config(model_directory: Path, **overrides: dict[str, Any]) -> RunConfig:
    values: dict[str, dict[str, Any]] = {
        "policy": {"model": str(model_directory), "device": "cpu", "threads": 1},
        "environment": {
            "operators": ("Echo",),
            "prompt_style": "brief",
            "max_response_tokens": 160,
            "max_turns": 3,
        },
        "sampling": {"max_turn_tokens": 48, "max_sessions": 32},
        "objective": {"kl_coefficient": 0.0, "clip_low": 0.2, "clip_high": 0.2},
        "optimiser": {"learning_rate": 2e-3, "micro_batch_tokens": 1024},
        "training": {
            "steps": 6,
            "questions_per_step": 3,
            "mini_batch_questions": 2,
            "group_size": 4,
            "checkpoint_every": 2,
            "evaluate_every": 3,
            "evaluation_questions": 4,
        },
    }
    for section, fields in overrides.items():
        values[section] = {**values.get(section, {}), **fields}
    return RunConfig.model_validate(values)


def make_environment(config: RunConfig, question: Question) -> Environment:
    return QuestionEnvironment(
        question, config=config.environment, operators={"Echo": Echo}, services=OperatorServices()
    )


def make_trainer(config: RunConfig, run_directory: Path, on_event: Any = lambda event: None, **changes: Any) -> Trainer:
    arguments = {
        "train_questions": QUESTIONS,
        "evaluation_questions": QUESTIONS,
        "make_environment": lambda question: make_environment(config, question),
    }
    return Trainer(config=config, run_directory=run_directory, on_event=on_event, **{**arguments, **changes})


def demonstrations() -> list[Trajectory]:
    """Half answer right, half wrong, half of each call the operator first; 64 in all."""
    made = []
    for index in range(64):
        question = QUESTIONS[index % 8]
        answer = "x" if index % 3 else "y"
        turns = [Turn(index=1, text=f"<think>i</think><answer>{answer}</answer>", well_formed=True)]
        if (index // 8) % 2:
            call = f"<think>e</think><tool>Echo: {question.text}</tool>"
            turns = [
                Turn(index=1, text=call, observation=f"<info>{question.text}</info>", well_formed=True),
                turns[0].model_copy(update={"index": 2}),
            ]
        made.append(
            Trajectory(
                id=f"d{index}",
                group_id=question.id,
                question=question,
                prompt=(Message(role="user", content=f"Question: {question.text}"),),
                turns=tuple(turns),
                stop_reason=StopReason.ANSWERED,
            )
        )
    return made


if __name__ == "__main__":
    model, directory, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

    def kill(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    training = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    make_trainer(tiny_config(model, training=training), directory, kill).run()
