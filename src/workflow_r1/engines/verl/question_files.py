"""Questions as the parquet files that verl reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_r1.engines.verl.options import AGENT_LOOP
from workflow_r1.engines.verl.rollout_files import Use
from workflow_r1.trajectory import Question


def write_questions(path: Path, questions: Sequence[Question], *, use: Use) -> None:
    """Write one row per question, in order; a question may stand in several rows.

    Args:
        path: the file; replaced where it exists.
        questions: at least one.
        use: purpose of the questions.

    Raises:
        ImportError: pyarrow is not installed.
    """
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [_row(question, index, use) for index, question in enumerate(questions)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _row(question: Question, index: int, use: Use) -> Mapping[str, Any]:
    """Return the columns that verl needs. Our loop reads the question itself, in ``extra_info``."""
    return {
        # verl shows it and measures it; the loop renders the prompt of the environment.
        "prompt": [{"role": "user", "content": question.text}],
        "data_source": question.dataset or "questions",
        "agent_name": AGENT_LOOP,
        "reward_model": {"style": "rule", "ground_truth": list(question.golden_answers) or [""]},
        "extra_info": {"index": index, "question": question.model_dump_json(), "use": use},
    }
