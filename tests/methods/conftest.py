"""Runs one method over doubles."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.evaluation import EvaluationResult, evaluate
from workflow_r1.inference import ChatModel
from workflow_r1.methods import METHODS, MethodContext
from workflow_r1.methods.method import method_environment
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.retrieval import SearchBackend
from workflow_r1.trajectory import Question, Trajectory

RunMethod = Callable[..., EvaluationResult]


@pytest.fixture
def run_method() -> RunMethod:
    """Prepare a method where it needs it, and let it answer the questions."""

    def run(
        method: str,
        chat: ChatModel,
        *questions: Question,
        search: SearchBackend | None = None,
        pool: Sequence[str] = ("AnswerGenerate", "Custom", "MultiAnswerGenerate", "ScEnsemble", "Review", "Revise"),
        train: Sequence[Question] = (),
        directory: Path | None = None,
        done: Sequence[Trajectory] = (),
        seed: int = 0,
        **settings: dict,
    ) -> EvaluationResult:
        chosen = METHODS[method]
        services = OperatorServices(chat=chat, search=search)
        operators = chosen.pool({name: OPERATORS[name] for name in pool})

        def make_environment(question: Question) -> Environment:
            return QuestionEnvironment(
                question, config=method_environment(operators), operators=operators, services=services
            )

        context = MethodContext(
            services=services,
            operators=operators,
            make_environment=make_environment,
            settings=MethodsConfig.model_validate(settings),
            questions=questions,
            train_questions=lambda: train,
            directory=directory,
        )

        async def prepare_and_evaluate() -> EvaluationResult:
            if chosen.prepare is not None:
                await chosen.prepare(context)
            policy = chosen.make_policy(context)
            return await evaluate(questions, policy=policy, make_environment=make_environment, done=done, seed=seed)

        return asyncio.run(prepare_and_evaluate())

    return run
