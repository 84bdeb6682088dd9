"""Every method by its name."""

from workflow_r1.errors import ConfigError
from workflow_r1.methods.aflow import AFLOW
from workflow_r1.methods.asking import COT, DIRECT, ENSEMBLE
from workflow_r1.methods.bounds import ORACLE_CHOICE, ORACLE_SCRIPT, RANDOM
from workflow_r1.methods.expert_workflow import EXPERT_WORKFLOW
from workflow_r1.methods.graphs import GRAPH
from workflow_r1.methods.maas import MAAS
from workflow_r1.methods.medprompt_knn import MEDPROMPT_KNN
from workflow_r1.methods.method import Method
from workflow_r1.methods.react import REACT
from workflow_r1.methods.voting import MEDPROMPT, SELF_CONSISTENCY
from workflow_r1.nearest import did_you_mean
from workflow_r1.references import load_reference

POLICY = "policy"
"""The method that is the configured policy: it needs no entry here."""

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *DIRECT,
        *COT,
        *SELF_CONSISTENCY,
        *ENSEMBLE,
        *MEDPROMPT,
        *MEDPROMPT_KNN,
        *REACT,
        *EXPERT_WORKFLOW,
        *RANDOM,
        *ORACLE_CHOICE,
        *ORACLE_SCRIPT,
        *GRAPH,
        *AFLOW,
        *MAAS,
    )
}
"""Methods in the order of tables and help texts."""


def find_method(name: str, *, key: str = "--method") -> Method:
    """Return the method of that name.

    Args:
        name: as the user wrote it; ``path/file.py:NAME`` or ``module:NAME`` is a ``Method`` of the user's own.
        key: option or setting that errors name.

    Raises:
        ConfigError: no method has that name; the message gives the nearest one.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" in name:
        own = load_reference(name, key=key)
        if isinstance(own, Method):
            return own
        raise ConfigError(
            f"{key}: expected a Method at {name}, found a {type(own).__name__}; make one with fixed_method (docs/reference/methods.md)"
        )
    hint = did_you_mean(name, [POLICY, *METHODS])
    raise ConfigError(f"{key}: expected one of {', '.join([POLICY, *METHODS])}, received {name!r}{hint}")
