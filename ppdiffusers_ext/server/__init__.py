"""Jobs of runs: a queue, the worker that owns the models, and what is kept of them. REST and the page call `Jobs`."""
