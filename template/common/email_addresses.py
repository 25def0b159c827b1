"""Normalise e-mail addresses: one spelling for each mailbox.

Domains become IDNA 2008 A-labels (RFC 5891), which mail servers look up. Local parts become lower
case, because mail providers do not have mailboxes that differ only in case.
"""

import re

import idna

MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3
# A dot-atom (RFC 5322). Quoted local parts have several spellings and may contain control
# characters. Local parts that are not ASCII need SMTPUTF8, which few mail servers support.
_LOCAL_PART = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII
)
_MAX_LOCAL_PART = 64


def normalise_email(address: str) -> str:
    """Return the normalised address, or raise ``ValueError`` if it cannot receive e-mail.

    Surrounding white space is removed, as in the fields of forms and serializers.

    >>> normalise_email("Bob@BÜCHER.example")
    'bob@xn--bcher-kva.example'
    """
    address = address.strip()
    if len(address) > MAX_LENGTH:
        raise ValueError("The address is too long.")
    local_part, _at, domain = address.rpartition("@")
    if not local_part.isascii():  # before lower(), which converts some other characters to ASCII
        raise ValueError("The local part is not ASCII.")
    local_part = local_part.lower()
    if len(local_part) > _MAX_LOCAL_PART or not _LOCAL_PART.fullmatch(local_part):
        raise ValueError("The local part is invalid.")
    domain = idna.encode(domain, uts46=True, std3_rules=True).decode()
    top_level = domain.rpartition(".")[2]
    if domain.count(".") < 1 or not top_level or top_level.isdecimal():
        raise ValueError("The domain is not a public one.")
    normalised = f"{local_part}@{domain}"
    if len(normalised) > MAX_LENGTH:
        raise ValueError("The address is too long.")
    return normalised
