"""How the tool reaches a cluster, compared with kubectl on the same kubeconfig."""
