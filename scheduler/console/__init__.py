"""Tables, progress and prompts: what writes to a terminal beyond a plain print."""
