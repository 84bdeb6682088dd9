"""The doctor's sample of what Search can show."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workflow_r1.errors import UserError
from workflow_r1.running.findings import Finding, ok, warning

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig


def check_audit(config: "RunConfig") -> Iterable[Finding]:
    """Questions whose gold answer Search can show, of a sample; of an index of this machine alone, and silent without files."""
    from workflow_r1.assembly.questions import load_files
    from workflow_r1.running.audit import sample_shown

    if config.data.source == "embedded":
        return
    sets = {}
    try:
        if config.data.train is not None:
            sets["data.train"] = load_files(config.data, "train")
        if config.data.evaluation is not None:
            sets["data.evaluation"] = load_files(config.data, "evaluation")
        looked = sample_shown(config, sets)
    except (UserError, OSError):
        return  # The checks of data and search say so.
    for name, found in looked.items():
        text = (
            f"{name}: Search shows the gold answer of {found.shown} in {found.questions} questions for their own words"
        )
        if found.shown:
            yield ok("audit", f"{text}; `workflow-r1 data audit` looks at all")
        else:
            yield warning("audit", text, "is it the corpus of these questions? See `workflow-r1 data audit`")
