"""Does a centre get everything from thousands of tills that lost it together? Real delivery code, real receivers.

    python -m tests.lab.fleet [--tills 2000] [--outage 45] [--processes 4] [--splay 20] …     (as root)

scene.py      what happens, and when, to every till          receivers.py   nginx, mosquitto, and who writes down what comes
reports.py    reports as a till makes them                   accounts.py    what was made against what came: losses, order
crew.py       many tills in one process, each with its own   traffic.py     a till's day on a wire of its own, in bytes
              Centre, state file, certificate and threads
"""
