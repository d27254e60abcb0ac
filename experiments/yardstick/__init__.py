"""How fast a training step is: sides, each in a process of its own, asked for short blocks in turn."""
