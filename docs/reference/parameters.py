"""An extension of griffe: parameters documented together, ``lower, upper : float``, keep their own defaults.

griffe gives all names of such a line the default of the first, and without a type its annotation, too.
"""

import re

import griffe

TOGETHER = re.compile(r"^[ \t]*(\*{0,2}\w+(?:, ?\*{0,2}\w+)+)[ \t]*(:.*)?$", re.MULTILINE)


class Together(griffe.Extension):
    """Leave the defaults of such parameters to the signature, and their types where the docstring has none."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Parse the docstring of an object once, and correct it."""
        if obj.docstring is None:
            return
        lines = [(re.findall(r"\w+", names), typed) for names, typed in TOGETHER.findall(obj.docstring.value)]
        typed = {name: bool(kind) for names, kind in lines for name in names}
        sections = obj.docstring.parse("numpy", warnings=False)
        for section in sections:
            if section.kind is griffe.DocstringSectionKind.parameters:
                for parameter in section.value:
                    if parameter.name in typed:
                        parameter.value = None
                        parameter.annotation = parameter.annotation if typed[parameter.name] else None
        obj.docstring.parsed = sections
