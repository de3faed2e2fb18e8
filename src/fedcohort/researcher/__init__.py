"""The researcher's interface: connect or simulate, run studies, read results."""
