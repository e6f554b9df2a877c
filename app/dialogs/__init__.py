"""Dialogs: errors and confirmation of loss."""
