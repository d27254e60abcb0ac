"""Completion in bash, zsh and fish: static scripts, so that a key press starts no Python."""
