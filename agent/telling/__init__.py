"""Who hears of a fault, in which words, and did it arrive? From the decision to the answer of each channel."""
