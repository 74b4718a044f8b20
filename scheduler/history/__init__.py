"""Which slots there were and will be, and what became of each. Values in, rows out."""
