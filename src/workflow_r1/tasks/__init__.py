"""Tasks: what a policy learns to do. The seam is in ``tasks.task``."""
