"""What both pages stand on: texts, settings, the server, small charts."""
