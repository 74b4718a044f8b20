"""The command line and everything that decides: configuration, plans, the cluster, the local engine, the views."""

VERSION = "0.1.0"
