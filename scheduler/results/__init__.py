"""What runs produced, as values: an ensemble's members, items and probabilities, read from the store in one place."""
