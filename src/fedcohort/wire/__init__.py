"""What leaves and enters a process: Protobuf messages over an authenticated WebSocket."""
