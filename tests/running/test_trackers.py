"""What trackers show of a run that is resumed."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from workflow_r1.config import RunConfig
from workflow_r1.recording.events import StepFinished
from workflow_r1.running.training import _followed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_steps_after_the_checkpoint_are_shown_once(tmp_path: Path) -> None:
    """Steps 1 to 4, a checkpoint after step 2, and a resumed run with steps 3 to 5."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = RunConfig.model_validate({"logging": {"tensorboard": True}})
    for steps, resume, value in (((1, 2, 3, 4), False, 0.0), ((3, 4, 5), True, 1.0)):
        with _followed(config, tmp_path, lambda event: None, is_main=True, resume=resume) as tell:
            for step in steps:
                tell(StepFinished(step=step, num_steps=5, metrics={"step": step, "rollout/reward": value}))
        (tmp_path / "checkpoints" / "step-2").mkdir(parents=True, exist_ok=True)
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("rollout/reward")
    assert [(each.step, each.value) for each in shown] == [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 1.0)]
