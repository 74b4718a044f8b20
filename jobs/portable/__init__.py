"""What runs inside every framework's interpreter: the common subset of Python 2.7 and 3."""
