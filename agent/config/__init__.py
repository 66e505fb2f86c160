"""What does the configuration ask for, or what is wrong with it, all at once?"""
