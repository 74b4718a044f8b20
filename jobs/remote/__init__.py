"""The messages about a store that is elsewhere, and the server beside it."""
