"""What is the first broken link? Pure: from one round of looks to diagnoses, the one that stops payments first."""
