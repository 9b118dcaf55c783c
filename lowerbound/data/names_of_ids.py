"""Names of columns that number things (rows, persons, orders) or places, in several languages."""

from __future__ import annotations

import re

ID = re.compile(
    r"^(id|ID|Id)$|[_ .-](id|ID|Id)$|[a-z](Id|ID)$"
    r"|(?i:^(case|customer|patient|person|record|respondent|row|sample|student|subject|user|voter)id$"
    r"|nummer$|^(numero|numéro|identifier|identifiant|identificador|identificativo|kennung|matricule|matrícula)$"
    r"|^(uuid|guid|ssn|isbn|ean|iban|barcode|phone|telephone|telefon|teléfono|téléphone)$"
    r"|(account|customer|invoice|member|order|patient|phone|serial|ticket)[_ .-]?number$"
    r"|^num[eé]?r?o?[_ .-](de[_ .-])?(client|cliente|commande|compte|cuenta|dossier|factura|facture|ordine|pedido)$)"
)
ROW = re.compile(
    r"^([Ii]ndex|[Rr]ow|[Nn]r|[Nn]o|[Oo]bs|[Cc]ase|[Uu]nnamed.*)$|[_ .-]([Nn]r|no)$|(kunden|konto|lfd|matrikel)[Nn]r$"
)
PLACE = re.compile(
    r"(?i:^(zip|zip[_ .-]?code|post[_ .-]?(al)?[_ .-]?code|code[_ .-]?postal|c[oó]digo[_ .-]postal|plz|postleitzahl)$)"
)


def names_things(name: str) -> bool:
    """Whether a column of this name holds ids: its values tell things apart, whatever they are.

    Example:
        >>> from lowerbound.data.names_of_ids import names_things
        >>> [name for name in ("patientId", "Kundennummer", "valid", "humid", "grams") if names_things(name)]
        ['patientId', 'Kundennummer']
    """
    return ID.search(name) is not None


def numbers_rows(name: str) -> bool:
    """Whether a column of this name holds ids or row numbers, where it holds numbers."""
    return names_things(name) or ROW.search(name) is not None


def names_places(name: str) -> bool:
    """Whether a column of this name holds postal codes, whose size means nothing."""
    return PLACE.search(name) is not None
