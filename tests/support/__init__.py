"""What the tests share: a server as a process, a command line, MQTT clients."""
