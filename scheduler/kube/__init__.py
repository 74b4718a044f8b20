"""The Kubernetes API client, and the objects it reads as values. Knows no configuration."""
