"""What starts, ends and repeats runs: processes of this machine or Jobs, behind one protocol (``base``)."""
