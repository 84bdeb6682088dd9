"""Workflow-R1: a policy that builds its workflow turn by turn, trained with GSsPO (arXiv:2602.01202)."""

__version__ = "0.1.0"
