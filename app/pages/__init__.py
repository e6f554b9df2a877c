"""One page per file; pages never import pages."""
