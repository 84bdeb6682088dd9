"""AFlow (arXiv:2410.10762): a search for one workflow graph by edits that an LLM proposes and validation questions judge."""

from workflow_r1.methods.aflow.method import AFLOW
from workflow_r1.methods.aflow.proposer import LLMProposer, Proposer, RandomProposer

__all__ = ["AFLOW", "LLMProposer", "Proposer", "RandomProposer"]
