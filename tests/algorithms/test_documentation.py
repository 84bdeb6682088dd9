import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "explanation" / "objective.md"


def test_the_snippet_runs():
    snippets = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    assert len(snippets) == 1
    exec(compile(snippets[0], str(DOCUMENT), "exec"), {})
