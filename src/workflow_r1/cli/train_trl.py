"""``workflow-r1 train --engine trl``: the same command, TRL's loop, in one process or several."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workflow_r1.accounting import Accounts
    from workflow_r1.config import RunConfig
    from workflow_r1.engines.trl.run import TrlResult
    from workflow_r1.environment import Environment
    from workflow_r1.policy.distributed import Ranks
    from workflow_r1.recording.events import OnEvent
    from workflow_r1.trajectory import Question


class TrlTrainer:
    """A run in TRL as ``train`` makes and runs trainers: the model is loaded first and saved last."""

    def __init__(
        self,
        *,
        config: "RunConfig",
        run_directory: Path,
        train_questions: "Sequence[Question]",
        evaluation_questions: "Sequence[Question]",
        make_environment: "Callable[[Question], Environment]",
        on_event: "OnEvent",
        accounts: "Accounts",
        ranks: "Ranks | None" = None,
    ) -> None:
        # Whoever asks for this engine has been told that TRL calls its rollout function experimental: docs/how-to/trl.md. It reads
        # the variable when it is imported or made.
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from workflow_r1.engines.native.batching import draw
        from workflow_r1.engines.trl.run import TrlRun
        from workflow_r1.policy.model import load_policy_model

        training = config.training
        drawn = draw(
            len(train_questions), seed=config.seed, start=0, count=training.steps * training.questions_per_step
        )
        # TRL switches checkpointing on by itself.
        optimiser = config.optimiser.model_copy(update={"gradient_checkpointing": False})
        self._model, self._tokenizer = load_policy_model(config.model_copy(update={"optimiser": optimiser}))
        self._directory = run_directory
        self._on_event = on_event
        self._run = TrlRun(
            config=config,
            run_directory=run_directory,
            model=self._model,
            tokenizer=self._tokenizer,
            questions=[train_questions[index] for index in drawn],
            evaluation_questions=evaluation_questions,
            make_environment=make_environment,
            on_event=on_event,
            accounts=accounts,
        )

    def request_stop(self) -> None:
        """Ask for a clean stop after the step under way."""
        self._run.request_stop()

    def run(self, *, resume: bool = False) -> "TrlResult":
        """Train, and save the policy in Hugging Face format."""
        from workflow_r1.policy.model import save_policy
        from workflow_r1.recording.events import PolicySaved

        result = self._run.run(resume=resume)
        if self._run.is_first:
            save_policy(self._model, self._tokenizer, self._directory / "policy")
            self._on_event(PolicySaved(self._directory / "policy"))
        return result
