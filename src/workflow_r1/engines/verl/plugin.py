"""Module that verl loads in every process (``actor_rollout_ref.model.external_lib``): importing it registers our parts.

A missing part would stop a run only after the models are loaded, or leave verl's own loss in its place. The import
itself therefore fails where a part is not registered.
"""

import verl  # noqa: F401  First: verl itself imports the following, in a circle.
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY

from workflow_r1.engines.verl import agent_loop, objective
from workflow_r1.engines.verl.options import AGENT_LOOP, LOSS, PLUGIN


def check_registered() -> None:
    """Make sure that verl knows our loop, advantage and loss, and knows ours by their names.

    Raises:
        RuntimeError: one is missing, or another stands in its place.
    """
    loop = _agent_loop_registry.get(AGENT_LOOP, {}).get("_target_")
    parts = {
        f"agent loop {AGENT_LOOP!r}": loop == f"{agent_loop.__name__}.WorkflowAgentLoop",
        f"advantage {LOSS!r}": ADV_ESTIMATOR_REGISTRY.get(LOSS) is objective.gsspo_advantages,
        f"policy loss {LOSS!r}": POLICY_LOSS_REGISTRY.get(LOSS) is objective.gsspo_loss,
    }
    missing = [name for name, registered in parts.items() if not registered]
    if missing:
        raise RuntimeError(
            f"expected verl to know our {', '.join(missing)} once {PLUGIN} is imported, but it does not: this release of "
            "verl registers them in another way; install the version in requirements/verl.txt"
        )


check_registered()
