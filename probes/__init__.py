"""What is the state of this machine and of what it stands on? Knows nothing of the agent that asks."""
