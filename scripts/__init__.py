"""Thin command-line entries: parse, call the library, print."""
