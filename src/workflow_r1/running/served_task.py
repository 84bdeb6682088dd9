"""The task of a configuration, opened for an environment server."""

from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.operators import OperatorServices
    from workflow_r1.serving.openenv import ServedTask


def open_served_task(config: "RunConfig", name: str | None = None) -> "tuple[ServedTask, OperatorServices, bool]":
    """Open a configuration's task with its services.

    Args:
        config: task, data, pool, limits and services; its policy is not opened.
        name: name of the environment for clients; None takes the configuration's.

    Returns:
        The task; its services, an async context that closes them; True where any of it is a simulation.

    Raises:
        UserError: the configuration or a file cannot be used.
        ServiceError: a service refuses or cannot be reached.
    """
    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services, open_accounts
    from workflow_r1.assembly.tasks import build_environments, build_score, build_task, needs_of
    from workflow_r1.running.configuration import open_questions
    from workflow_r1.running.parts import train_questions
    from workflow_r1.running.services import check_services
    from workflow_r1.running.simulation import is_simulated
    from workflow_r1.serving.openenv import ServedTask

    instances = {}
    for split, read in (("train", train_questions), ("evaluation", lambda given: open_questions(given, None))):
        try:
            found = read(config)
        except ConfigError:  # A file of one of the two is enough.
            continue
        if found:
            instances[split] = found
    if not instances:
        raise ConfigError("expected at least one question to serve; set data.train or data.evaluation")
    task = build_task(config.chosen_task)
    operators = build_operators(config.pool)
    accounts = open_accounts(config.prices, config.budget, timed=True)
    services = build_services(
        config.services, config.pool, operators=operators, accounts=accounts, needs=needs_of(task)
    )
    check_services(config.services, services)
    simulated = is_simulated(config)
    mark = " (a simulation)" if simulated else ""
    served = ServedTask(
        name=name or config.name,
        instances=instances,
        make_environment=build_environments(task, config.environment, operators=operators, services=services),
        score=build_score(task),
        description=f"{config.name}: one action is one think-and-act turn of a policy{mark}",
    )
    return served, services, simulated
