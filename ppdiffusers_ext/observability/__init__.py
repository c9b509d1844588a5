"""What programs read of a run while it goes on: events as lines of JSON, and numbers in Prometheus' text format."""
