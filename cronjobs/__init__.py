"""Pure: fire times, names, pods, Jobs and CronJobs as plain values. No I/O, no clock."""
