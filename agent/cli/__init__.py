"""Which command was typed, and what comes back? Parse, call, print, exit code; no logic."""
