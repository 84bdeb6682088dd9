"""Stage 1: questions. The layouts that are recognised are listed in ``data.questions``."""

from workflow_r1.data.files import FileFormat
from workflow_r1.data.questions import load_questions

__all__ = ["FileFormat", "load_questions"]
