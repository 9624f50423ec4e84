"""Other projects' models and interfaces on tgc, imported as ``tgc.frontends``; each needs the extra of its name."""
