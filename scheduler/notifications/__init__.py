"""Notifications: what is wrong since when, and who is told of it, each event once."""
