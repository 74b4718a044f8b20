"""The job program and the user's code as reproducible archives."""
