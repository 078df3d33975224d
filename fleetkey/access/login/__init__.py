"""From a CONNECT to a principal, and when a principal stops being one."""
