"""Pages for people: one HTML file each, with its figures inside and nothing loaded from elsewhere.

The contents of a page are plain values (`contents`), filled from the database (`night`,
`portfolio`); figures (`night_charts`, `portfolio_charts`) and templates (`render`) use nothing
else.
"""
