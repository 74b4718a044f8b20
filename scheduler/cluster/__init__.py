"""The cluster: reads what is there, compares it with what should be, plans, and changes it.

``kubeconfig`` and ``credentials`` say how to get in, ``api`` alone talks to the server, ``read`` turns its answers into
values, ``fields``, ``diff`` and ``plan`` work on values only, ``apply`` alone changes a cluster.
"""
