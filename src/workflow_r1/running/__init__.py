"""A run without a terminal: opening, checking, asking, training and evaluating. The commands print its results."""
