"""(written by its owner)"""
