"""MaAS (arXiv:2502.04180): a controller that draws a workflow for each question, trained by the score of its answers."""

from workflow_r1.methods.maas.controller import Controller
from workflow_r1.methods.maas.embedding import HashedEmbeddings
from workflow_r1.methods.maas.method import MAAS

__all__ = ["MAAS", "Controller", "HashedEmbeddings"]
