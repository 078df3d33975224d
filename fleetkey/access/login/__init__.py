"""From a CONNECT to a principal, and what happens to the principal when the registry changes."""
