"""The interpreters and images that steps run in."""
