"""What a network in hand says of itself. Takes networks and tensors, opens no files."""
