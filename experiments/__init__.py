"""One file a figure or table: its question, its grid, its figure, the result to expect."""
