"""The floor and the ceilings: the scores of blind calls, and those of perfect choice or perfect reading."""

import random
from collections.abc import Mapping, Sequence

from workflow_r1.assembly.world import embedded_world
from workflow_r1.config.methods import SelfConsistencyConfig
from workflow_r1.embedded import STRATEGIES, Demonstrator
from workflow_r1.errors import ConfigError
from workflow_r1.methods.fixed import StartWorkflow
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method, MethodContext
from workflow_r1.methods.operators import draw_answers
from workflow_r1.methods.passages import put_before, show_passages
from workflow_r1.methods.voting import ask_for_answers
from workflow_r1.methods.workflow import FixedWorkflow, Workflow, question_of
from workflow_r1.operators import OPERATORS, Operator
from workflow_r1.operators.arguments import MIN_LIST
from workflow_r1.operators.results import read_answer, read_answers
from workflow_r1.rewards import exact_match

# ----------------------------------------------------------------------------------------------------------- the floor


def call_at_random(operators: Sequence[Operator], max_calls: int) -> StartWorkflow:
    """Call operators at random with texts seen so far, then give one of the answers that came back.

    Args:
        operators: all of them take texts.
        max_calls: most calls.
    """

    def start(question: str, rng: random.Random) -> Workflow:
        texts, answers = [question], list[str]()
        for _ in range(rng.randint(1, max_calls)):
            operator = rng.choice(operators)
            (observation,) = yield [f"{operator.name}: {_draw_input(operator, texts, rng)}"]
            given = [answer for answer in (read_answer(observation), *read_answers(observation)) if answer]
            answers += given
            texts += given or [observation]
        return rng.choice(answers) if answers else ""

    return start


def _draw_input(operator: Operator, texts: Sequence[str], rng: random.Random) -> str:
    parts = [
        f"<{argument.name}>{rng.choice(texts)}</{argument.name}>"
        for argument in operator.arguments
        for _ in range(MIN_LIST if argument.is_list else 1)
    ]
    return "".join(parts)


def _make_random(context: MethodContext) -> FixedWorkflow:
    fitting = [
        operator
        for operator in context.operators.values()
        if all(argument.type is str for argument in operator.arguments)
    ]
    if not fitting:
        raise ConfigError(
            "environment.operators: expected an operator that takes texts, since the method random calls one, received "
            f"{', '.join(context.operators) or 'none'}; add one to the pool"
        )
    return FixedWorkflow("random", call_at_random(fitting, context.settings.random.max_calls))


RANDOM = (
    Method(
        "random", "calls operators of the pool at random, then takes one of the answers", _make_random, takes_pool=True
    ),
    Method(
        "random" + WITH_SEARCH,
        "calls operators of the pool and Search at random, then takes one of the answers",
        _make_random,
        operators={SEARCH: OPERATORS[SEARCH]},
        takes_pool=True,
    ),
)

# -------------------------------------------------------------------------------------------------- choosing perfectly


def choose_knowingly(
    golden_answers: Mapping[str, Sequence[str]], settings: SelfConsistencyConfig, *, searches: bool
) -> StartWorkflow:
    """Draw the answers that ``cot`` and ``self-consistency`` would, and take a right one if there is any.

    Args:
        golden_answers: golden answers by the text of the question.
        settings: number and temperature of the answers besides the one at temperature 0.
        searches: put the passages found for the question before it.
    """

    def start(question: str, rng: random.Random) -> Workflow:
        asked = question
        if searches:
            (observation,) = yield [f"{SEARCH}: {question}"]
            asked = put_before(question, show_passages(observation))
        one, several = yield [
            f"AnswerGenerate: {asked}",
            ask_for_answers(asked, settings.num_answers, settings.temperature),
        ]
        candidates = [answer for answer in (read_answer(one), *read_answers(several)) if answer]
        golden = golden_answers.get(question)
        right = (answer for answer in candidates if golden and exact_match(answer, golden))
        return next(right, candidates[0] if candidates else "")

    return start


def _oracle_choice(name: str, summary: str, *, searches: bool) -> Method:
    def make(context: MethodContext) -> FixedWorkflow:
        golden: dict[str, tuple[str, ...]] = {}
        for question in context.questions:
            # As the environment shows it, whose text may have been made safe.
            text = question_of(context.make_environment(question).initial_messages()[-1].content)
            golden[text] = (*golden.get(text, ()), *question.golden_answers)
        if not any(golden.values()):
            raise ConfigError(
                f"{name} chooses by golden answers: expected questions that have some, received none; evaluate it on questions "
                "with golden answers"
            )
        start = choose_knowingly(golden, context.settings.self_consistency, searches=searches)
        return FixedWorkflow(name, start)

    operators = [draw_answers, OPERATORS["AnswerGenerate"], *([OPERATORS[SEARCH]] if searches else [])]
    pool = {operator.name: operator for operator in operators}
    return Method(name, summary, make, operators=pool, section="self_consistency")


ORACLE_CHOICE = (
    _oracle_choice(
        "oracle-choice",
        "draws the answers of cot and self-consistency and takes a right one: the ceiling of choosing",
        searches=False,
    ),
    _oracle_choice(
        "oracle-choice" + WITH_SEARCH,
        "the same, with the passages found for the question before it",
        searches=True,
    ),
)

# ------------------------------------------------------------------------------------------------- reading perfectly


def _oracle_script(name: str, strategy: str, *pool: str) -> Method:
    return Method(
        name,
        f"the embedded world's script that reads without a mistake: {strategy}",
        lambda context: Demonstrator(embedded_world(context.world_seed), STRATEGIES[strategy]),
        operators={operator: OPERATORS[operator] for operator in pool},
        only_embedded=True,
    )


ORACLE_SCRIPT = (
    _oracle_script("oracle-script", "ask hop by hop", "AnswerGenerate"),
    _oracle_script(
        "oracle-script" + WITH_SEARCH, "search, else ask three times", SEARCH, "MultiAnswerGenerate", "ScEnsemble"
    ),
)
"""The best of the scripts that do without Search, and the best of all."""
