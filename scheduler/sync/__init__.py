"""CronJobs and ConfigMaps: desired, diff, plan, apply. What diff, plan, planner, prune and warnings take and give are values."""
