"""The command line. Every heavy import waits inside its command, so that ``--help`` answers at once."""

from workflow_r1.cli.application import app, main

__all__ = ["app", "main"]
