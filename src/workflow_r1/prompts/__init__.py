"""Stage 2: the policy's prompt, and the reading of its turns. The grammar's behaviours are numbered in ``grammar``."""

from workflow_r1.prompts.grammar import (
    CLOSING_TAGS,
    ParsedCall,
    ParsedTurn,
    action_end,
    parse_turn,
    restore_opening,
)
from workflow_r1.prompts.neutralise import neutralise
from workflow_r1.prompts.policy_prompt import (
    MALFORMED_INSTRUCTION,
    OperatorDescription,
    cut_middle,
    format_observation,
    render_prompt,
)

__all__ = [
    "CLOSING_TAGS",
    "MALFORMED_INSTRUCTION",
    "OperatorDescription",
    "ParsedCall",
    "ParsedTurn",
    "action_end",
    "cut_middle",
    "format_observation",
    "neutralise",
    "parse_turn",
    "render_prompt",
    "restore_opening",
]
