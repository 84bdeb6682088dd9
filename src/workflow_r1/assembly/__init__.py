"""From settings to the live parts that they name. Nothing here needs torch."""
