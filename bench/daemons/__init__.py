"""What does posagent's daemon cost, and how soon does it know, beside the daemons that others run?"""
