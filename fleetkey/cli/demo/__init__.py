"""The story that `fleetkey demo` tells, and the MQTT client it uses."""
