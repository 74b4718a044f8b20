"""Where messages are sent to, a module for each kind of channel; each is loaded when it is used."""
