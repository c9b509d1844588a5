"""Thin command-line entries: parse, call the library, print."""

from ppdiffusers_ext.requirements import check_packages

check_packages()  # here, since whichever command is run, and from wherever, this is run before it
