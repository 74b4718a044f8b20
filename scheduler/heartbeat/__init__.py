"""The dead man's switch: the checks of a Healthchecks-compatible server that expect each scheduled run."""
