"""The process that runs one step of a run. Standard library alone, Python 3.9."""
