"""Importers of other projects' models, imported as ``tgc.frontends``; each needs the extra of its name."""
