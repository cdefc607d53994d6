"""Raw connections and datagrams, carried without reading them."""
