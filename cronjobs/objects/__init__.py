"""Kubernetes objects as dictionaries: CronJobs, Jobs, pods, ConfigMaps, volumes."""
