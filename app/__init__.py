"""Everything that knows Qt, plus cli.py, which must not."""

from app.singletons import keep_alive

keep_alive()
