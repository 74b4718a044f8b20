"""A real Kubernetes for the tests: its binaries, a control plane, a node, and what tests ask of them."""
