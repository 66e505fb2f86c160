"""Whose is a name, and may it have this address? What is true of names and addresses whatever a resolver says."""

from __future__ import annotations

import ipaddress

LOCAL_NAMES = ("local", "lan", "home", "internal", "localdomain", "localhost", "corp", "intranet", "private", "arpa")
PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10"),
    )
)


def unexpected(expect: tuple[str, ...], addresses: tuple[str, ...]) -> str:
    """The first address outside the expected networks of its own family; a family that is not named is not judged."""
    networks = [ipaddress.ip_network(text, strict=False) for text in expect]
    judged = {network.version for network in networks}
    for text in addresses:
        address = ipaddress.ip_address(text)
        if address.version in judged and not any(address in network for network in networks):
            return text
    return ""


def is_private(text: str) -> bool:
    """Whether an address leads nowhere beyond the LAN, or nowhere at all (0.0.0.0, the answer of many filters)."""
    address = ipaddress.ip_address(text)
    return any(address in network for network in PRIVATE if network.version == address.version)


def is_local(name: str, search: tuple[str, ...]) -> bool:
    """Whether a name is the store's own, so that a private address is what it should have."""
    bare = name.rstrip(".").lower()
    own = (*LOCAL_NAMES, *(domain.lower() for domain in search))
    return "." not in bare or any(bare == domain or bare.endswith(f".{domain}") for domain in own)


def full_names(name: str, search: tuple[str, ...]) -> tuple[str, ...]:
    """A name without a dot is tried in each search domain first, as the C library does."""
    if "." in name:
        return (name,)
    return (*(f"{name}.{domain}" for domain in search), name)
