"""How two runs differ, as values: what they predicted, and what was pinned: configuration, code, data, versions, environment."""
