"""The factory that makes a fresh environment for each trajectory."""

from collections.abc import Callable, Mapping, Sequence

from workflow_r1.assembly.operators import check_pool
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.trajectory import Question


def build_environment_factory(
    config: EnvironmentConfig,
    *,
    operators: Mapping[str, Operator],
    services: OperatorServices,
    special_tokens: Sequence[str] = (),
) -> Callable[[Question], QuestionEnvironment]:
    """Return a function that makes a fresh environment for each trajectory. All of them share the services.

    Args:
        config: pool and limits.
        operators: where the names of the pool are looked up.
        services: services that the operators use.
        special_tokens: special tokens of the policy's tokenizer, neutralised in outside text.

    Raises:
        ConfigError: the pool names an operator that does not exist, or one that lacks settings.
    """
    check_pool(config.operators, operators)

    def make_environment(question: Question) -> QuestionEnvironment:
        return QuestionEnvironment(
            question, config=config, operators=operators, services=services, special_tokens=special_tokens
        )

    return make_environment
