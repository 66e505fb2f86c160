"""How quick is posagent beside its peers, on this machine, in this minute?"""
