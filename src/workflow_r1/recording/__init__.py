"""The record of a run, whichever engine trains: events, files, metrics, the watch for collapse."""
