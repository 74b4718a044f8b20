"""Plan and sync: values for the pure parts, a real API server for the rest."""
