"""Builders of the live parts that settings name. Nothing here needs torch."""
