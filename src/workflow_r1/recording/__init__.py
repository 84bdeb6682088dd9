"""What a run says of itself and leaves behind, whichever engine trains: events, files, metrics, the watch for collapse."""
