"""What decides: the command line, the configuration, the local engine, the views of the store."""
