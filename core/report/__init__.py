"""Results as one HTML file that needs nothing else: tables, plots as inline SVG, light and dark. These are light."""
