"""When is which probe looked at, and what makes the daemon look sooner? The turns, the kernel's events, the doubts."""
