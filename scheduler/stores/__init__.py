"""Where an experiment's store is, and how it is opened."""
