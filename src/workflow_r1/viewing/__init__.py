"""Pages that show runs and evaluations: read from their directories, served to a browser, or written as one file."""
