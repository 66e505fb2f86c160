"""What did the technician type?"""


def main() -> int:
    """Run one command."""
    return 0
