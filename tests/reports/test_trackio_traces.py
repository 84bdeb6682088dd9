"""Spans of traces, without Trackio itself: ``tests/cli/test_export.py`` has its store."""

import sys
from types import SimpleNamespace

import pytest
from written_trajectories import written

from workflow_r1.reports.trackio_traces import make_trace
from workflow_r1.trajectory import Usage


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (
            Usage(llm_calls=1, prompt_tokens=7, completion_tokens=2),
            {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        ),
        (Usage(llm_calls=1), {}),
    ],
)
def test_tokens_that_a_service_did_not_count_are_left_out(
    monkeypatch: pytest.MonkeyPatch, usage: Usage, tokens: dict[str, int]
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(Trace=lambda **fields: SimpleNamespace(**fields)))
    trajectory = written("Who made Jaws?", ("So.", "Spielberg"), golden=("Spielberg",))
    (turn,) = trajectory.turns
    (span,) = make_trace(trajectory.model_copy(update={"turns": (turn.model_copy(update={"usage": usage}),)})).spans
    assert span["usage"] == tokens
