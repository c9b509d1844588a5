"""From raw videos to a training set: steps from row to row, and what runs them."""
