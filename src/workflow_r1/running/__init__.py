"""A run without a terminal: what is opened, checked, asked and trained. The commands print what happens here."""
