"""The job program: what runs inside a runtime, and the store that it and the tool share."""
