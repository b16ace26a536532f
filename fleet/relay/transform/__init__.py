"""The steps of a route: require, de-identify, edit; and a last look."""
