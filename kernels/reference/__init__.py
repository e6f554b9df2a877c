"""Plain numpy: the specification of every format and search; never optimised."""
