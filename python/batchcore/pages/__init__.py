"""Pages that people open: one HTML file each, figures inside, nothing loaded from elsewhere.

What a page shows is plain values (`contents`), filled from the database (`night`, `portfolio`);
figures (`night_charts`, `portfolio_charts`) and templates (`render`) know nothing else.
"""
