"""Protection against floods, guessing and timing: limits that know nothing of logins or brokers."""
