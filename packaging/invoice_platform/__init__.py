"""The invoice platform's tasks as commands. There is no Python interface: run them as programs."""
