"""Workflows of stored trajectories: the flow of data through one, its calls' effects on the answer, and the atlas of many."""

from workflow_r1.workflows.atlas import Atlas, AtlasPart, Pair, WorkflowShare, make_atlas, pair_questions
from workflow_r1.workflows.effects import Effect, EffectCounts, EffectKind, count_effects, trace_effects
from workflow_r1.workflows.flow import Flow, FlowEdge, FlowNode, trace_flow

__all__ = [
    "Atlas",
    "AtlasPart",
    "Effect",
    "EffectCounts",
    "EffectKind",
    "Flow",
    "FlowEdge",
    "FlowNode",
    "Pair",
    "WorkflowShare",
    "count_effects",
    "make_atlas",
    "pair_questions",
    "trace_effects",
    "trace_flow",
]
