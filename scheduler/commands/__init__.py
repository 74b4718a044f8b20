"""One file a command: its options, its call, its printing. No command imports another."""
