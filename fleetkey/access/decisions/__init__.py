"""Who may do what with which topic: pure functions."""
