"""Builds the container images of the runtimes with podman or docker, from the files in `context/` and pinned packages alone."""
