"""The coordinator's side: rounds, store, audit and the HTTP and WebSocket service."""
