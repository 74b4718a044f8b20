"""A store that only a cluster mounts: a mirror of its small files, and the pod that reads the rest."""
