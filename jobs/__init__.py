"""What runs inside a runtime: supervise, prepare, train, predict, combine, and the store they share."""
