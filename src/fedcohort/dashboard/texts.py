"""Every text of the pages and of documents, by name: one file a language, which the browser reads too."""

import json
from pathlib import Path

TEXTS = Path(__file__).parent / "static" / "texts"


def load_texts(language: str = "en") -> dict[str, str]:
    """A language's texts."""
    texts: dict[str, str] = json.loads((TEXTS / f"{language}.json").read_text("utf-8"))
    return texts
