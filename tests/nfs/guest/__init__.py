"""What runs inside the virtual machine, in its own Python 3.11: the clients, and the checks of the store on them."""
