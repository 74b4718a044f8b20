"""The store over real NFS: a small virtual machine with Debian's own kernel as server and as two clients."""
