"""Reusable widgets that know nothing of jobs."""
