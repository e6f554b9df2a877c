"""Decisions: what to do with a model and how to report it; no Qt."""
