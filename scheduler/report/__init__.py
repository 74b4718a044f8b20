"""The report: a page, and single charts, for people who would rather look than read. Values in modules, words in templates."""
