"""A store that is elsewhere: the messages of both ends, and the server beside it. Standard library alone, Python 3.9."""
