"""TRL as the engine: ``trainer.GSsPOTrainer`` is the loss, ``rollouts.Rollouts`` the rollout function, ``run.TrlRun`` a whole run.

Nothing is imported here: TRL takes seconds to load.
"""
