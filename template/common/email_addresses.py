"""Normalise e-mail addresses: one spelling for each mailbox.

Domains become IDNA 2008 A-labels (RFC 5891), which mail servers look up. Local parts become lower
case, because mail providers do not have mailboxes that differ only in case.
"""

import re

import idna

MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3
# A dot-atom (RFC 5322). Quoted local parts have several spellings and may contain control
# characters. Local parts that are not ASCII need SMTPUTF8, which few mail servers support.
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*", re.ASCII)
_MAX_LOCAL_PART = 64
_INVALID = "The address cannot receive e-mail."


def normalise_email(address: str) -> str:
    """Return the normalised address, or raise ``ValueError`` if it cannot receive e-mail.

    Surrounding white space is removed, as in the fields of forms and serializers.

    >>> normalise_email("Bob@BÜCHER.example")
    'bob@xn--bcher-kva.example'
    """
    address = address.strip()
    local_part, _at, domain = address.rpartition("@")
    too_long = len(address) > MAX_LENGTH or len(local_part) > _MAX_LOCAL_PART
    if too_long or not _LOCAL_PART.fullmatch(local_part):
        raise ValueError(_INVALID)
    domain = idna.encode(domain, uts46=True).decode()
    _domain, dot, top_level = domain.rpartition(".")
    normalised = f"{local_part.lower()}@{domain}"
    if not dot or not top_level or top_level.isdecimal() or len(normalised) > MAX_LENGTH:
        raise ValueError(_INVALID)
    return normalised
