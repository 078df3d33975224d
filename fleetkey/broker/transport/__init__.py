"""The broker's transports: listening, WebSocket, and buffered sending."""
