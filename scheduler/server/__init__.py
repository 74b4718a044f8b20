"""`serve`: the loop, the state of each experiment and task, and a thread for each run."""
