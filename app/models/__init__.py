"""Qt item models over plain core values."""
