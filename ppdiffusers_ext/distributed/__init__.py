"""Several processes that make one result together; knows no network and no system."""
