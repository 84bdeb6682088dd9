"""A policy with its operators as an OpenAI-compatible chat endpoint. ``serving.app`` needs the extra ``serve``."""
