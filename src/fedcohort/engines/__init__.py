"""What carries tasks and contributions between coordinator and nodes."""
