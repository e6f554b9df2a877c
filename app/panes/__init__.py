"""Parts of pages that are too much for one file: like pages they know the long-lived objects, but not each other."""
