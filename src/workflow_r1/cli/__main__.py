"""``python -m workflow_r1.cli``."""

from workflow_r1.cli.application import main

main()
