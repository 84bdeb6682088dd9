"""A task behind an OpenEnv server: its session, its actions, the task itself."""

from workflow_r1.tasks.openenv.task import OpenEnv, OpenEnvSettings

__all__ = ["OpenEnv", "OpenEnvSettings"]
