"""Processes that work on one thing after the other, on this machine or on Ray: what runs rows and jobs."""
