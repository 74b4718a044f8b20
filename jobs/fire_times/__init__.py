"""When a schedule fires, to the minute as Kubernetes' controller has it."""
