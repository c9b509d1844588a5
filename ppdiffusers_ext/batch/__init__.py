"""Many jobs of any command: the file that lists them, the manifest of what became of them, and the report."""
